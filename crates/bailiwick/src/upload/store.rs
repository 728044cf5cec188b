//! Where files are kept: a directory, or a store that speaks the protocol of S3.
use std::{
    fs, io,
    ops::Range,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
    time::UNIX_EPOCH,
};

use bailiwick_core::{
    clock::Timestamp,
    error::StoreError,
    id::Id,
    model::{Column, Model},
    store::{MAX_NAMED, Store},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    Error, GetOptions, ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem, path::Path,
};

use crate::problem::Problem;

/// What a [`FileId`] is the id of.
pub enum StoredFile {}
/// Under which a file is stored: made for one upload, and never used for another.
pub type FileId = Id<StoredFile>;

/// Keeps files, each under an id, as they were put there. Cheap to clone.
///
/// A store belongs to one database: [`collect`](Self::collect) takes away what that does not name.
#[derive(Clone, Debug)]
pub struct FileStore {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    /// Where a process that was killed may leave files that were not finished.
    directory: Option<Arc<FilePath>>,
}

/// Why a file could not be kept, read or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It is not there.
    #[error("there is no such file in the store")]
    Missing,
    /// The store failed, or is out of reach.
    #[error("the store of files failed")]
    Store(#[source] Error),
    /// The directory cannot be made, read or written.
    #[error("the directory of files cannot be used")]
    Directory(#[source] io::Error),
    /// The database did not say which files are named.
    #[error("the database did not say which files are in use")]
    Rows(#[source] StoreError),
}

impl From<Error> for FileError {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound { .. } => Self::Missing,
            other => Self::Store(other),
        }
    }
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        match error {
            // A row names it: something is wrong that no retry mends.
            FileError::Missing => Self::internal().because(error),
            _ => Self::unavailable().because(error),
        }
    }
}

/// What [`FileStore::collect`] has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// Files that no row named, and that are gone.
    pub removed: u64,
    /// Files that are old enough to be looked at, and stay.
    pub kept: u64,
}

/// A store that speaks the protocol of S3.
#[cfg(feature = "s3")]
#[derive(Clone, Debug)]
pub struct S3 {
    /// Where it is, if it is not Amazon's: `https://minio.example.com:9000`.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
    /// The bucket, which is there already.
    pub bucket: String,
    /// What the names of the files begin with, so that the bucket can hold other things too.
    pub prefix: String,
    /// Who asks, and their key; without it the machine's own role is asked for.
    pub credentials: Option<(String, bailiwick_core::secret::Secret<String>)>,
}

impl FileStore {
    /// Keeps files in a directory, which is made if it is not there, for its owner alone.
    ///
    /// # Errors
    /// If it cannot be made or used.
    pub fn directory(path: &FilePath) -> Result<Self, FileError> {
        let mut directory = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut directory, 0o700);
        directory.recursive(true).create(path).map_err(FileError::Directory)?;
        // On disk when it answers, name and all: a row that names a file must not outlive it.
        let objects = LocalFileSystem::new_with_prefix(path)?.with_fsync(true);
        Ok(Self { objects: Arc::new(objects), prefix: Path::default(), directory: Some(path.into()) })
    }

    /// Keeps files in a bucket.
    ///
    /// # Errors
    /// If the settings make no store. It is not asked for anything yet.
    #[cfg(feature = "s3")]
    pub fn s3(settings: S3) -> Result<Self, FileError> {
        use std::time::Duration;

        use object_store::{ClientOptions, RetryConfig, aws::AmazonS3Builder};
        let S3 { endpoint, region, bucket, prefix, credentials } = settings;
        // A request waits for it: it has to hear soon that the store does not answer.
        let client = ClientOptions::new()
            .with_connect_timeout(Duration::from_secs(5))
            .with_timeout(Duration::from_secs(30));
        let retry =
            RetryConfig { max_retries: 2, retry_timeout: Duration::from_secs(10), ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_client_options(client)
            .with_retry(retry);
        if let Some(endpoint) = endpoint {
            let in_the_clear = endpoint.starts_with("http://");
            builder = builder.with_endpoint(endpoint).with_allow_http(in_the_clear);
        }
        if let Some((id, key)) = credentials {
            builder = builder.with_access_key_id(id).with_secret_access_key(key.expose());
        }
        let prefix = Path::parse(prefix).map_err(Error::from)?;
        Ok(Self { objects: Arc::new(builder.build()?), prefix, directory: None })
    }

    fn path(&self, id: FileId) -> Path {
        self.prefix.clone().join(id.to_string())
    }

    /// Keeps a file. When this answers, it is there for good.
    ///
    /// # Cancel safety
    /// If the future is dropped, the file may be there or not: a row is not to name it.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn put(&self, id: FileId, bytes: Bytes) -> Result<(), FileError> {
        self.objects.put(&self.path(id), PutPayload::from(bytes)).await?;
        Ok(())
    }

    /// Reads a part of a file, as it comes.
    ///
    /// # Errors
    /// If it is not there, or the store fails; later failures come with the bytes.
    pub async fn get(
        &self,
        id: FileId,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, FileError>>, FileError> {
        // A store has no answer for a part of nothing.
        if range.is_empty() {
            self.objects.head(&self.path(id)).await?;
            return Ok(futures_util::stream::empty().boxed());
        }
        let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
        let found = self.objects.get_opts(&self.path(id), options).await?;
        Ok(found.into_stream().map_err(FileError::from).boxed())
    }

    /// Takes a file away; one that is not there is gone already.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn delete(&self, id: FileId) -> Result<(), FileError> {
        match self.objects.delete(&self.path(id)).await.map_err(FileError::from) {
            Ok(()) | Err(FileError::Missing) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes away the files that were put here before `before` and that no row names in `column`.
    ///
    /// `before` lies further back than any upload can take: what is put here later may be named yet.
    ///
    /// # Errors
    /// If one of the stores fails. What was not looked at is left for the next time.
    pub async fn collect<R: Model, W>(
        &self,
        rows: &dyn Store,
        column: Column<R, FileId, W>,
        before: Timestamp,
    ) -> Result<Collected, FileError> {
        let mut old = Vec::new();
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let mut listed = self.objects.list(prefix);
        while let Some(object) = listed.try_next().await? {
            let is_old = object.last_modified.timestamp_micros() < before.as_micros();
            let id = object.location.filename().and_then(|name| name.parse::<FileId>().ok());
            // What has another name is nobody's business here.
            old.extend(id.filter(|id| is_old && self.path(*id) == object.location).map(|id| id.as_uuid()));
        }
        let mut collected = Collected::default();
        for ids in old.chunks(MAX_NAMED) {
            let named = rows.named(R::TABLE, column.position(), ids).await.map_err(FileError::Rows)?;
            for id in ids {
                if named.contains(id) {
                    collected.kept += 1;
                } else {
                    self.delete(FileId::from_uuid(*id)).await?;
                    collected.removed += 1;
                }
            }
        }
        if let Some(directory) = &self.directory {
            let directory = directory.to_path_buf();
            let removed = tokio::task::spawn_blocking(move || remove_unfinished(&directory, before)).await;
            let removed = removed.map_err(io::Error::other).and_then(|removed| removed);
            collected.removed += removed.map_err(FileError::Directory)?;
        }
        Ok(collected)
    }
}

/// A process that is killed while it writes leaves a file whose name has a `#`, which is never listed.
fn remove_unfinished(directory: &PathBuf, before: Timestamp) -> io::Result<u64> {
    let mut removed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.split_once('#')).map(|(id, _)| id.parse::<FileId>());
        if !matches!(id, Some(Ok(_))) {
            continue;
        }
        // One that is just being finished may be gone by now.
        let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_old = i64::try_from(since.as_micros()).is_ok_and(|micros| micros < before.as_micros());
        if is_old && fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}
