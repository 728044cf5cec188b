//! Every setting: its name, type, default and documentation, declared once.
//!
//! To add one, add a field. It is then read from the file, the environment and, if it is a secret, from a
//! `_file`; it is checked, listed by `config reference` and shown by `config show`.
use std::{net::SocketAddr, path::PathBuf};

use http::{HeaderName, Method};

use bailiwick::{
    clock::Timestamp,
    units::{ByteSize, Period, Rate},
};

use super::{
    key::MasterKey,
    table::section,
    types::{
        AllowedOrigin, DatabaseUrl, DocsAccess, Environment, FindingCode, ForwardedBy, HostPattern,
        LogFormat, LogLevel, MailTransport, Origin, OriginRegex, OverLimit, PublicUrl, RegistrationMode,
        ScannerUrl, SecretText, SharedUrl, SigningAlgorithm, Text, TrustedProxy, WebUrl,
    },
    value::Whole,
};

section! {
    /// All settings of the server.
    pub struct Settings {
        sections {
            server: Server,
            database: Database,
            shared: Shared,
            secrets: Secrets,
            registration: Registration,
            passwords: Passwords,
            sessions: Sessions,
            tokens: Tokens,
            jwt: Jwt,
            cors: Cors,
            csrf: Csrf,
            throttle: Throttle,
            limits: Limits,
            pagination: Pagination,
            writes: Writes,
            idempotency: Idempotency,
            uploads: Uploads,
            docs: Docs,
            versions: Versions,
            mail: Mail,
            log: Log,
            telemetry: Telemetry,
            check: Check,
        }
    }
}

section! {
    /// Where the server listens, and for whom it answers.
    pub struct Server {
        /// The address of the main listener.
        bind: SocketAddr = "127.0.0.1:8000";
        /// The address of the listener for `/metrics`, `/healthz` and `/readyz`, which answers anyone: keep it
        /// inside.
        operations_bind: SocketAddr = "127.0.0.1:9000";
        /// The address by which clients reach the server. Links in answers begin with it.
        public_url: Option<PublicUrl> = unset like "https://api.example.com";
        /// The proxies in front of the server: networks or addresses. Where a request comes from, and how, is believed from
        /// these alone.
        trusted_proxies: Vec<TrustedProxy> = "";
        /// In which fields the proxies say it: `x-forwarded` is X-Forwarded-For, -Proto and -Host, `forwarded` that of RFC
        /// 7239. The others are not read.
        forwarded_by: ForwardedBy = "x-forwarded";
        /// The hosts that requests may name, without port; `.example.com` also takes sub-domains. Others get
        /// 400.
        allowed_hosts: Vec<HostPattern> = "", "localhost, 127.0.0.1, [::1]" in development;
        /// `development` relaxes some defaults, as each of them says.
        environment: Environment = "production";
        /// The certificate chain, in PEM, to serve https without a proxy. When the file changes, the new one is served within
        /// 5 s.
        tls_cert_file: Option<PathBuf> = unset like "cert.pem";
        /// The private key of the certificate, in PEM.
        tls_key_file: Option<PathBuf> = unset like "key.pem";
        /// How long a client may take to send the head of a request, and how long it may pause within a body.
        header_timeout: Period = "10s";
        /// How long a request may take in all, or from when its body is whole. A body that still comes may go on at
        /// limits.min_body_rate.
        request_timeout: Period = "30s";
        /// How many connections may be open at once.
        max_connections: Whole<1, 1_000_000> = "10000";
        /// How many of them one address may have, IPv6 by its /64. This machine and trusted proxies may have all.
        max_connections_per_address: Whole<1, 1_000_000> = "256";
    }
}

section! {
    /// Where the data is.
    pub struct Database {
        /// A file of SQLite, or a PostgreSQL server. The path of a file starts at the directory of the
        /// settings file; after three slashes it is absolute.
        url: DatabaseUrl = "sqlite://bailiwick.db";
        /// How many connections to PostgreSQL a server opens at most. Unset: 10.
        max_connections: Option<Whole<1, 1_000>> = unset like "16";
        /// Lets PostgreSQL check the organisation of every row a second time.
        row_level_security: bool = "false" [refused];
    }
}

section! {
    /// What several servers share.
    pub struct Shared {
        /// Where quotas are counted: in the memory of each process, on a Redis server (`rediss://` for TLS), or in the
        /// database. Several servers of one site need one of the latter, or each gives a whole quota.
        url: SharedUrl = "memory";
    }
}

section! {
    /// Keys. Files with secrets must not be readable by others.
    pub struct Secrets {
        /// The key from which all others are derived. Required in production; in development `bailiwick.key`
        /// is made beside the settings.
        master_key: Option<MasterKey> = unset like "";
        /// Former master keys, which only read what was written with them.
        master_key_fallbacks: Vec<MasterKey> = "";
    }
}

section! {
    /// Who may make an account.
    pub struct Registration {
        /// `closed`: users are made by the command line. `open`: by anyone. `invited` is for invitations, which this
        /// version does not have: until then it is `closed`.
        mode: RegistrationMode = "closed";
    }
}

section! {
    /// What a password must be, and how its hash is made (argon2id).
    pub struct Passwords {
        /// The fewest characters of a password.
        min_length: Whole<8, 256> = "15", "8" in development;
        /// The memory of one hash, in KiB.
        argon2_memory_kib: Whole<8, 4_194_304> = "19456";
        /// How often the memory is gone through.
        argon2_iterations: Whole<1, 1_000> = "2";
        /// How many threads a hash is made for.
        argon2_parallelism: Whole<1, 64> = "1";
    }
}

section! {
    /// How long a browser stays logged in.
    pub struct Sessions {
        /// A session ends when it was not used for this long.
        idle: Period = "30m";
        /// A session ends this long after the log-in.
        absolute: Period = "12h";
    }
}

section! {
    /// API tokens.
    pub struct Tokens {
        /// How long a token lives if its maker does not say.
        default_lifetime: Period = "30d";
        /// How many live tokens a user may have from log-ins, how many with a name, and how many an organisation may own: one
        /// more log-in ends the oldest of the first, and one more of the others is refused.
        max_per_user: Whole<1, 10_000> = "20";
    }
}

section! {
    /// JSON Web Tokens.
    pub struct Jwt {
        /// What signs access tokens.
        algorithm: SigningAlgorithm = "EdDSA";
        /// How long an access token lives.
        access_lifetime: Period = "5m";
        /// How long a refresh token lives; a log-in can be refreshed for six times as long.
        refresh_lifetime: Period = "14d";
        /// For how long the last refresh token gets the same successor again, in seconds.
        reuse_grace_seconds: Whole<0, 300> = "10";
        /// The `iss` of access tokens. Unset: server.public_url, or `bailiwick`.
        issuer: Option<Text> = unset like "https://api.example.com";
        /// The `aud` of access tokens. Unset: the issuer.
        audience: Option<Text> = unset like "https://api.example.com";
        /// How old a signing key becomes before a running server lets another one follow.
        rotate_every: Period = "90d";
        lists { trusted_issuers: TrustedIssuer, }
    }
}

section! {
    /// Another issuer whose access tokens are accepted, for users that exist here. There may be several. They are given in
    /// the settings file alone, each under a line of its own that names the list.
    pub struct TrustedIssuer {
        /// The `iss` of its tokens, letter by letter.
        issuer: Text = required like "https://login.example.com";
        /// What must stand in their `aud`.
        audience: Text = required like "https://api.example.com";
        /// The file with its public keys, a JWKS document. It is read again when it changes. Either this or jwks_url.
        jwks_file: Option<PathBuf> = unset like "issuer-keys.json";
        /// The URL of its public keys. They are fetched again as its Cache-Control says, within 1 minute and 1 hour.
        jwks_url: Option<WebUrl> = unset like "https://login.example.com/.well-known/jwks.json";
        /// The claim that holds the name of the user here.
        username_claim: Text = "sub";
        /// The `typ` of tokens that are accepted.
        types: Vec<Text> = "at+jwt";
        /// By how much its clock may differ.
        leeway: Period = "30s";
    }
}

section! {
    /// Which other origins may call the API from a browser.
    pub struct Cors {
        /// Origins whose pages may call, and read what is answered.
        allowed_origins: Vec<AllowedOrigin> = "";
        /// Regular expressions of such origins, each anchored by ^ and $ and of hosts below your own domains.
        allowed_origin_regexes: Vec<OriginRegex> = "";
        /// Whether their pages may use cookies. What they change by a cookie is decided by csrf.trusted_origins.
        allow_credentials: bool = "false";
        /// Whether pages of any origin may, without cookies.
        allow_all_origins: bool = "false";
        /// The methods they may use.
        allowed_methods: Vec<Method> = "GET, HEAD, POST, PUT, PATCH, DELETE";
        /// The header fields they may send.
        allowed_headers: Vec<HeaderName> = "authorization, content-type, idempotency-key, if-match, \
            if-none-match, x-csrftoken, x-request-id";
        /// The header fields of an answer that they may read.
        exposed_headers: Vec<HeaderName> = "etag, link, location, retry-after, ratelimit, ratelimit-policy, \
            deprecation, sunset, x-request-id, idempotent-replayed, www-authenticate";
        /// How long a browser may remember the answer to a preflight.
        max_age: Period = "10m";
        /// Whether pages of public networks may call a server in a private one.
        allow_private_network: bool = "false";
    }
}

section! {
    /// Forged requests of other origins.
    pub struct Csrf {
        /// Other origins that may send requests with a cookie.
        trusted_origins: Vec<Origin> = "";
    }
}

section! {
    /// How often one caller may call.
    pub struct Throttle {
        /// Whether anybody is throttled at all.
        enabled: bool = "true";
        sections { rates: ThrottleRates, }
    }
}

section! {
    /// Requests in a window of time, such as `60/min` or `10/15min`.
    pub struct ThrottleRates {
        /// Requests without a valid credential, for each address. Long pages, uploads and downloads count for several.
        anon: Rate = "60/min";
        /// Requests of one user. Long pages, uploads and downloads count for several.
        user: Rate = "600/min";
        /// Log-ins, for each address.
        login: Rate = "5/min";
        /// Failed log-ins, for each user name.
        login_account: Rate = "10/15min";
        /// Refreshed tokens.
        refresh: Rate = "30/min";
        /// New comments.
        comments: Rate = "10/min" [not_yet];
        /// Uploaded files.
        uploads: Rate = "30/hour";
        /// Exports.
        exports: Rate = "10/hour" [not_yet];
        /// Invitations.
        invitations: Rate = "20/hour" [not_yet];
        /// Registrations.
        register: Rate = "5/hour";
    }
}

section! {
    /// How large things may be, and how many at once.
    pub struct Limits {
        /// The body of a request.
        body: ByteSize = "1MiB";
        /// The bodies of all requests together, while they are in memory. One address may have an eighth. Others get 503.
        body_memory: ByteSize = "256MiB";
        /// How much of a body comes in a second at least, on average, once it takes longer than server.request_timeout.
        min_body_rate: ByteSize = "8KiB";
        /// How many requests are worked on at once, without those that wait for their clients. Others get 503.
        max_in_flight: Whole<1, 1_000_000> = "1024";
        /// How long a request may wait for a turn of a thread, in milliseconds, before some get 503 instead.
        max_turn_wait_ms: Whole<10, 60_000> = "500";
        /// One uploaded file, as it is sent.
        upload_file: ByteSize = "5MiB";
        /// All files of one user, in whatever organisation they are, as they are kept.
        upload_user_quota: ByteSize = "100MiB";
        /// All files of one organisation, as they are kept.
        upload_org_quota: ByteSize = "1GiB";
        /// How deep JSON may be nested.
        json_depth: Whole<1, 128> = "32";
        /// The pixels of an image, those of all its frames together.
        max_pixels: Whole<1, 400_000_000> = "40000000";
    }
}

section! {
    /// Lists.
    pub struct Pagination {
        /// The rows of a page if the client does not say.
        default_size: Whole<1, 10_000> = "25";
        /// The most rows of a page.
        max_size: Whole<1, 10_000> = "100";
        /// What happens when a client asks for more: `cap` gives the most, `reject` answers 422.
        over_limit: OverLimit = "cap";
    }
}

section! {
    /// Changes.
    pub struct Writes {
        /// Whether PUT, PATCH and DELETE need an If-Match; without one they are answered 428.
        require_if_match: bool = "false";
    }
}

section! {
    /// Requests that are sent twice.
    pub struct Idempotency {
        /// How long an Idempotency-Key is remembered.
        lifetime: Period = "24h" [not_yet];
        /// Resources whose POST needs an Idempotency-Key.
        required: Vec<Text> = "" [refused];
    }
}

section! {
    /// Attachments.
    pub struct Uploads {
        /// The directory that holds them, of this database alone. It is made, for the server alone, if it is not there.
        /// Several servers of one site need a directory that they share, or S3.
        directory: PathBuf = "attachments";
        /// A virus scanner that sees every file first: ClamAV's daemon, by its address or the path of its socket.
        scanner: Option<ScannerUrl> = unset like "clamd://127.0.0.1:3310";
        sections { s3: UploadsS3, }
    }
}

section! {
    /// A store that speaks the protocol of S3, in the place of the directory.
    pub struct UploadsS3 {
        /// The bucket, which is there already. Setting it chooses S3.
        bucket: Option<Text> = unset like "bailiwick";
        /// What the names of files begin with in the bucket. It belongs to this database alone.
        prefix: Text = "attachments";
        /// The region.
        region: Text = "us-east-1";
        /// Where the store is, if it is not Amazon's.
        endpoint: Option<WebUrl> = unset like "https://minio.example.com:9000";
        /// The id of the key. Unset: the machine's own role.
        access_key_id: Option<Text> = unset like "AKIAIOSFODNN7EXAMPLE";
        /// The key.
        secret_access_key: Option<SecretText> = unset like "";
    }
}

section! {
    /// The documentation that the server shows.
    pub struct Docs {
        /// Who may read it: `public`, `authenticated`, `staff`, or `off` for nobody.
        access: DocsAccess = "staff", "public" in development [not_yet];
    }
}

section! {
    /// Versions of the API.
    pub struct Versions {
        sections { v1: VersionDates, }
    }
}

section! {
    /// The end of a version.
    pub struct VersionDates {
        /// From when on it is deprecated.
        deprecated_at: Option<Timestamp> = unset like "2027-01-31T00:00:00Z" [not_yet];
        /// From when on it is gone.
        sunset_at: Option<Timestamp> = unset like "2027-07-31T00:00:00Z" [not_yet];
        /// The page that tells what to change.
        migration_url: Option<WebUrl> = unset like "https://example.com/api/v2" [not_yet];
    }
}

section! {
    /// Outgoing mail.
    pub struct Mail {
        /// `console` writes mail to standard error, `file:` with a directory into files, an SMTP URL sends it:
        /// `smtps://` by TLS, `smtp://` by STARTTLS, which a server on this machine need not have.
        transport: MailTransport = "console";
        /// The sender. Required by an SMTP URL.
        from: Option<Text> = unset like "Bailiwick <noreply@example.com>";
    }
}

section! {
    /// What the server writes about its work.
    pub struct Log {
        /// `json` for machines, `pretty` for people.
        format: LogFormat = "json";
        /// `error`, `warn`, `info`, `debug` or `trace`: this and all that is graver.
        level: LogLevel = "info";
    }
}

section! {
    /// Traces.
    pub struct Telemetry {
        /// The OTLP collector that gets them.
        otlp_endpoint: Option<WebUrl> = unset like "http://127.0.0.1:4318" [not_yet];
    }
}

section! {
    /// What `bailiwick check` finds.
    pub struct Check {
        /// Codes of findings that are accepted on purpose. Each is logged at every start.
        allow: Vec<FindingCode> = "";
    }
}
