//! Findings about files that users upload.
use bailiwick::units::ByteSize;

use super::{Found, Subject, have};
use crate::config;

pub(super) fn exposed_files(subject: &Subject<'_>, found: &mut Found) {
    let uploads = &subject.settings.uploads;
    if uploads.s3.bucket.is_none() && have(&uploads.directory, 0o007) {
        let directory = uploads.directory.display();
        found.error_in_production(
            "uploads.directory",
            format!("every user of this machine can reach the files in {directory}"),
            format!("chmod o= {directory}"),
        );
    }
}

pub(super) fn incomplete_s3(subject: &Subject<'_>, found: &mut Found) {
    let s3 = &subject.settings.uploads.s3;
    if s3.access_key_id.is_some() != s3.secret_access_key.is_some() {
        found.error(
            "uploads.s3.access_key_id",
            "a key has an id and a secret, and one of the two is missing",
            "give uploads.s3.access_key_id and uploads.s3.secret_access_key, or neither for the machine's own role",
        );
    }
    if s3.bucket.is_none() && (s3.endpoint.is_some() || s3.access_key_id.is_some()) {
        found.error(
            "uploads.s3.bucket",
            "there are settings of S3 and no bucket, so files go into uploads.directory",
            "name the bucket, or remove the other settings of uploads.s3",
        );
    }
}

pub(super) fn files_without_tls(subject: &Subject<'_>, found: &mut Found) {
    let uploads = &subject.settings.uploads;
    let scanner = uploads.scanner.as_ref().map(config::ScannerUrl::to_framework);
    let is_away = |host: &str| !config::is_loopback_host(host);
    for (setting, in_the_clear) in [
        (
            "uploads.s3.endpoint",
            uploads.s3.endpoint.as_ref().is_some_and(|url| !url.is_https() && !url.is_loopback()),
        ),
        ("uploads.scanner", scanner.as_ref().is_some_and(|scanner| scanner.host().is_some_and(is_away))),
    ] {
        if in_the_clear {
            found.warning(
                setting,
                "files go to another machine without encryption",
                "use https, or a private network or a tunnel, and for those accept this finding in check.allow",
            );
        }
    }
}

pub(super) fn quotas_below_a_file(subject: &Subject<'_>, found: &mut Found) {
    let limits = &subject.settings.limits;
    for (setting, quota) in [
        ("limits.upload_user_quota", limits.upload_user_quota),
        ("limits.upload_org_quota", limits.upload_org_quota),
    ] {
        if quota < limits.upload_file {
            found.warning(
                setting,
                format!("a quota of {quota} has no room for one file of limits.upload_file"),
                "raise the quota, or lower limits.upload_file",
            );
        }
    }
}

pub(super) fn huge_uploads(subject: &Subject<'_>, found: &mut Found) {
    let limits = &subject.settings.limits;
    if limits.upload_file > ByteSize::mib(64) {
        found.warning(
            "limits.upload_file",
            format!("a file of {} is held in memory while it is judged", limits.upload_file),
            "lower it, for example to the default of `5MiB`",
        );
    }
    if limits.max_pixels.get() > 100_000_000 {
        found.warning(
            "limits.max_pixels",
            format!("an image of {} pixels takes up to 8 bytes for each of them", limits.max_pixels.get()),
            "lower it, for example to the default of 40000000",
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::Case;

    pub(in crate::check) const CASES: &[Case] = &[
        (
            "uploads.s3.bucket = 'b'\nuploads.s3.access_key_id = 'a'",
            "error UPLOAD-002 uploads.s3.access_key_id",
            "uploads.s3.bucket = 'b'\nuploads.s3.access_key_id = 'a'\nuploads.s3.secret_access_key = 'k'",
        ),
        (
            "uploads.s3.endpoint = 'https://minio.example.com'",
            "error UPLOAD-002 uploads.s3.bucket",
            "uploads.s3.endpoint = 'https://minio.example.com'\nuploads.s3.bucket = 'b'",
        ),
        (
            "uploads.s3.bucket = 'b'\nuploads.s3.endpoint = 'http://minio.example.com:9000'",
            "warning UPLOAD-003 uploads.s3.endpoint",
            "uploads.s3.bucket = 'b'\nuploads.s3.endpoint = 'http://127.0.0.1:9000'",
        ),
        (
            "uploads.scanner = 'clamd://10.0.0.7:3310'",
            "warning UPLOAD-003 uploads.scanner",
            "uploads.scanner = 'clamd:///run/clamav/clamd.ctl'",
        ),
        (
            "limits.upload_user_quota = '4MiB'",
            "warning UPLOAD-004 limits.upload_user_quota",
            "limits.upload_user_quota = '5MiB'",
        ),
        (
            "limits.upload_org_quota = '4MiB'",
            "warning UPLOAD-004 limits.upload_org_quota",
            "limits.upload_org_quota = '5MiB'",
        ),
        (
            "limits.upload_file = '65MiB'",
            "warning UPLOAD-005 limits.upload_file",
            "limits.upload_file = '64MiB'",
        ),
        (
            "limits.max_pixels = 100000001",
            "warning UPLOAD-005 limits.max_pixels",
            "limits.max_pixels = 100000000",
        ),
    ];
}
