//! The application that the settings describe.
use std::{future::Future, io, sync::Arc, time::Duration};

use bailiwick::{
    app::{
        App, BuildError, Builder, Operations, Ready,
        serve::{ServeOptions, Tls, TlsError},
    },
    audit::AuditKeys,
    authn::{
        Authn, FamilyLimits, Jwt, SessionLimits,
        issuers::{KeySource, TrustedIssuer},
        jwt::{AccessTokens, Algorithm, ExternalTokens},
        keys::MasterKeys,
        password::HashCost,
    },
    clock::SystemClock,
    cors::{Cors, Decided, Matched, Named},
    hosts::{AllowedHosts, InvalidHost},
    limits::LimitsLayer,
    overload::OverloadLayer,
    proxies::{self, TrustedProxies},
    query::{OverLimit, PageSettings},
    resource,
    store::{CounterStore, Store},
    tenancy::TenantFrom,
    trace::{Format, Log},
    units::Rate,
    upload::{FileError, FileStore, S3, UploadLimits, Uploads},
};
use tokio::net::TcpListener;

use crate::{
    config::{self, Settings},
    handlers::{self, Attachments, Registration},
    mail::{LeakMails, MailError, Mailer, ResetMails},
    resources,
};

/// Why the settings make no application.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// A host that no request can name.
    #[error("server.allowed_hosts: {0}")]
    Hosts(#[from] InvalidHost),
    /// An issuer without one place where its keys are.
    #[error("jwt.trusted_issuers: {issuer} needs either jwks_file or jwks_url")]
    Issuer {
        /// The issuer.
        issuer: String,
    },
    /// Pages of other origins that nobody may let in.
    #[error("{setting}: {reason}")]
    Cors {
        /// Where that was asked for.
        setting: &'static str,
        /// Why it is refused, whatever was accepted of what `check` found.
        reason: String,
    },
    /// Uploaded files cannot be kept.
    #[error("uploads: files cannot be kept")]
    Files(#[source] FileError),
    /// No mail can be sent.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// The access log cannot be opened.
    #[error("the access log cannot be written")]
    Log(#[source] io::Error),
    /// The parts do not fit together.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Builds the server's application on `store`. Quotas are counted in `counters`, or else in the memory of this process.
///
/// # Errors
/// Names the setting that is wrong.
pub fn build(
    settings: &Settings,
    store: Arc<dyn Store>,
    counters: Option<Arc<dyn CounterStore>>,
    log: Log,
) -> Result<App, ApplicationError> {
    let builder = assemble(settings, store, log)?;
    let builder = match counters {
        Some(counters) => builder.policies(|policies| policies.counters(counters)),
        None => builder,
    };
    Ok(builder.build()?)
}

/// The application before it is built, for whoever brings a clock of their own.
///
/// # Errors
/// Names the setting that is wrong.
pub fn assemble(
    settings: &Settings,
    store: Arc<dyn Store>,
    log: Log,
) -> Result<Builder<Ready>, ApplicationError> {
    let hosts = AllowedHosts::parse(settings.server.allowed_hosts.iter().map(config::HostPattern::as_str))?;
    let forwarded_by = match settings.server.forwarded_by {
        config::ForwardedBy::XForwarded => proxies::ForwardedBy::XForwarded,
        config::ForwardedBy::Forwarded => proxies::ForwardedBy::Forwarded,
    };
    let (limits, overload) = (limits(settings), overload(&settings.limits));
    let authn = Authn::new()
        .hash_cost(hash_cost(settings))
        .token_lifetime(settings.tokens.default_lifetime.as_duration())
        .max_tokens_per_user(settings.tokens.max_per_user.get())
        .min_password_chars(settings.passwords.min_length.get() as usize)
        .sessions(SessionLimits {
            idle: settings.sessions.idle.as_duration(),
            absolute: settings.sessions.absolute.as_duration(),
        });
    let authn = authn.trusted_issuers(trusted_issuers(settings)?);
    let authn = match jwt(settings) {
        Some(jwt) => authn.jwt(jwt),
        None => authn,
    };
    let cors = cors(&settings.cors)?;
    let origins = settings.csrf.trusted_origins.iter().map(config::Origin::to_framework);
    let rates = &settings.throttle.rates;
    let registration = match settings.registration.mode {
        config::RegistrationMode::Open => Registration::Open,
        // There are no invitations yet.
        config::RegistrationMode::Invited | config::RegistrationMode::Closed => Registration::Closed,
    };
    let public_url = settings.server.public_url.as_ref().map(config::PublicUrl::as_str);
    let mailer = Mailer::new(&settings.mail)?;
    let leak_mails = LeakMails::new(mailer.clone(), public_url);
    let reset_mails = ResetMails::new(mailer, public_url);
    let attachments = attachments(settings)?;
    let upload_body = upload_limits(settings).body();
    let builder = App::builder()
        .store(store)
        .authenticate(authn)
        .tenancy(TenantFrom::path())
        .resources(resources::all())
        .routes(handlers::routes(registration, upload_body))
        .give(attachments)
        .give(reset_mails)
        .give(leak_mails)
        .log(log)
        .policies(|policies| {
            let policies = policies
                .hosts(hosts)
                .proxies(trusted_proxies(settings), forwarded_by)
                .limits(limits)
                .overload(overload)
                .cors(cors)
                .throttle_anonymous(rates.anon)
                .throttle_users(rates.user)
                .throttle_scope("login", rates.login)
                .throttle_scope("refresh", rates.refresh)
                .throttle_scope("register", rates.register)
                .throttle_scope("uploads", rates.uploads)
                .throttle_scope("password_reset", password_resets())
                .throttle_failed_log_ins(rates.login_account)
                .csrf_trusted_origins(origins)
                .resources(answers(settings));
            let policies = match &settings.secrets.master_key {
                Some(master_key) => policies.csrf_key(master_key.derive("csrf")),
                None => policies,
            };
            if settings.throttle.enabled { policies } else { policies.insecure_no_throttle() }
        });
    Ok(builder)
}

/// What one request may cost, and the bodies of all together.
fn limits(settings: &Settings) -> LimitsLayer {
    LimitsLayer::new()
        .max_body(settings.limits.body)
        .body_memory(settings.limits.body_memory)
        .min_body_rate(settings.limits.min_body_rate)
        .body_pause(settings.server.header_timeout.as_duration())
        .request_timeout(settings.server.request_timeout.as_duration())
}

/// When the server is too busy for more.
fn overload(limits: &config::Limits) -> OverloadLayer {
    OverloadLayer::new()
        .max_in_flight(limits.max_in_flight.get())
        .max_wait(Duration::from_millis(limits.max_turn_wait_ms.get().into()))
}

fn upload_limits(settings: &Settings) -> UploadLimits {
    UploadLimits { file: settings.limits.upload_file, pixels: settings.limits.max_pixels.get().into() }
}

fn attachments(settings: &Settings) -> Result<Attachments, ApplicationError> {
    let uploads = Uploads::new(upload_limits(settings));
    let uploads = match &settings.uploads.scanner {
        Some(scanner) => uploads.scanner(scanner.to_framework()),
        None => uploads,
    };
    Ok(Attachments {
        uploads,
        files: file_store(settings)?,
        user_quota: settings.limits.upload_user_quota,
        org_quota: settings.limits.upload_org_quota,
    })
}

/// Where uploaded files are kept.
///
/// # Errors
/// If the directory cannot be made, or the settings of S3 make no store.
pub(crate) fn file_store(settings: &Settings) -> Result<FileStore, ApplicationError> {
    let uploads = &settings.uploads;
    let s3 = &uploads.s3;
    let opened = match &s3.bucket {
        None => FileStore::directory(&uploads.directory),
        Some(bucket) => {
            let credentials = s3.access_key_id.as_ref().zip(s3.secret_access_key.as_ref());
            FileStore::s3(S3 {
                endpoint: s3.endpoint.as_ref().map(|url| url.as_str().to_owned()),
                region: s3.region.as_str().to_owned(),
                bucket: bucket.as_str().to_owned(),
                prefix: s3.prefix.as_str().to_owned(),
                credentials: credentials.map(|(id, key)| (id.as_str().to_owned(), key.to_secret())),
            })
        }
    };
    opened.map_err(ApplicationError::Files)
}

/// Who else issues access tokens that are accepted.
fn trusted_issuers(settings: &Settings) -> Result<Vec<TrustedIssuer>, ApplicationError> {
    let trusted = settings.jwt.trusted_issuers.iter().map(|issuer| {
        let incomplete = || ApplicationError::Issuer { issuer: issuer.issuer.as_str().to_owned() };
        let keys = match (&issuer.jwks_file, &issuer.jwks_url) {
            (Some(path), None) => KeySource::File(path.clone()),
            (None, Some(url)) => KeySource::Url(url.as_str().parse().map_err(|_| incomplete())?),
            _ => return Err(incomplete()),
        };
        let tokens = ExternalTokens {
            issuer: issuer.issuer.as_str().to_owned(),
            audience: issuer.audience.as_str().to_owned(),
            username_claim: issuer.username_claim.as_str().to_owned(),
            types: issuer.types.iter().map(|typ| typ.as_str().to_owned()).collect(),
            leeway: issuer.leeway.as_duration(),
        };
        Ok(TrustedIssuer { tokens, keys })
    });
    trusted.collect()
}

/// The `iss` of this server's own access tokens.
pub(crate) fn own_issuer(settings: &Settings) -> &str {
    let issuer = settings.jwt.issuer.as_ref().map(config::Text::as_str);
    let issuer = issuer.or(settings.server.public_url.as_ref().map(config::PublicUrl::as_str));
    issuer.unwrap_or("bailiwick")
}

/// Which other origins may call. The framework has no way to say what `check` refuses here, but for credentials by pattern.
fn cors(settings: &config::Cors) -> Result<Cors<Decided>, ApplicationError> {
    let refused = |setting, reason: &str| ApplicationError::Cors { setting, reason: reason.to_owned() };
    let patterns = settings.allowed_origin_regexes.iter().map(config::OriginRegex::to_framework);
    let patterns = patterns
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refused("cors.allowed_origin_regexes", &error.to_string()))?;
    let origins =
        settings.allowed_origins.iter().map(|origin| origin.origin().map(config::Origin::to_framework));
    let origins = origins
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| refused("cors.allowed_origins", "`null` is the origin of any sandboxed page"))?;
    if settings.allow_all_origins {
        if settings.allow_credentials {
            return Err(refused("cors.allow_credentials", "any origin would act as whoever is logged in"));
        }
        if settings.allow_private_network {
            return Err(refused("cors.allow_private_network", "any origin would reach into your network"));
        }
        return Ok(of_pages(Cors::insecure_any_origin(), settings).decide());
    }
    let listed = origins.into_iter().fold(Cors::same_origin(), Cors::allow);
    let mut patterns = patterns.into_iter();
    Ok(match (patterns.next(), settings.allow_credentials) {
        (None, false) => into_network(of_pages(listed, settings), settings).decide(),
        (None, true) => into_network(of_pages(listed.allow_credentials(), settings), settings).decide(),
        (Some(pattern), with_credentials) => {
            let matched = patterns.fold(listed.allow_matching(pattern), Cors::<Matched>::allow_matching);
            if with_credentials {
                into_network(of_pages(matched.insecure_allow_credentials(), settings), settings).decide()
            } else {
                into_network(of_pages(matched, settings), settings).decide()
            }
        }
    })
}

/// What pages of those origins may send and read.
fn of_pages<Who>(cors: Cors<Who>, settings: &config::Cors) -> Cors<Who> {
    cors.methods(settings.allowed_methods.iter().cloned())
        .headers(settings.allowed_headers.iter().cloned())
        .exposed_headers(settings.exposed_headers.iter().cloned())
        .max_age(settings.max_age.as_duration())
}

fn into_network<Who: Named>(cors: Cors<Who>, settings: &config::Cors) -> Cors<Who> {
    if settings.allow_private_network { cors.allow_private_network() } else { cors }
}

/// How access tokens are made; there are none without a master key, which their keys are encrypted under.
pub(crate) fn jwt(settings: &Settings) -> Option<Jwt> {
    const PURPOSE: &str = "signing keys";
    let (secrets, jwt) = (&settings.secrets, &settings.jwt);
    let current = secrets.master_key.as_ref()?.derive(PURPOSE);
    let former: Vec<_> = secrets.master_key_fallbacks.iter().map(|key| key.derive(PURPOSE)).collect();
    let issuer = own_issuer(settings);
    Some(Jwt {
        master: MasterKeys::new(&current, &former),
        algorithm: match jwt.algorithm {
            config::SigningAlgorithm::EdDsa => Algorithm::EdDsa,
            config::SigningAlgorithm::Es256 => Algorithm::Es256,
            config::SigningAlgorithm::Rs256 => Algorithm::Rs256,
            config::SigningAlgorithm::Hs256 => Algorithm::Hs256,
        },
        rotate_every: jwt.rotate_every.as_duration(),
        tokens: AccessTokens {
            issuer: issuer.to_owned(),
            audience: jwt.audience.as_ref().map_or(issuer, config::Text::as_str).to_owned(),
            lifetime: jwt.access_lifetime.as_duration(),
        },
        limits: FamilyLimits {
            refresh_lifetime: jwt.refresh_lifetime.as_duration(),
            reuse_grace: Duration::from_secs(jwt.reuse_grace_seconds.get().into()),
        },
    })
}

/// What the audit trail is linked with.
///
/// # Errors
/// Without a master key, from which they are derived.
pub fn audit_keys(settings: &Settings) -> Result<AuditKeys, NoMasterKey> {
    const PURPOSE: &str = "audit trail";
    let secrets = &settings.secrets;
    let current = secrets.master_key.as_ref().ok_or(NoMasterKey)?.derive(PURPOSE);
    let former: Vec<_> = secrets.master_key_fallbacks.iter().map(|key| key.derive(PURPOSE)).collect();
    Ok(AuditKeys::new(&current, &former))
}

/// There is no master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no master key, from which the keys of the audit trail are derived")]
pub struct NoMasterKey;

/// Opens the access log that the settings describe, to be written to `sink`.
///
/// # Errors
/// If the thread that writes it cannot be started.
pub fn log(settings: &Settings, sink: impl io::Write + Send + 'static) -> Result<Log, ApplicationError> {
    let format = match settings.log.format {
        config::LogFormat::Json => Format::Json,
        config::LogFormat::Pretty => Format::Pretty,
    };
    Log::new(sink, format, settings.log.level.into(), Arc::new(SystemClock::new()))
        .map_err(ApplicationError::Log)
}

/// The addresses of a server, taken.
#[derive(Debug)]
pub struct Listeners {
    /// For clients.
    pub main: TcpListener,
    /// For whoever operates the server.
    pub operations: TcpListener,
}

/// The proxies that are believed.
fn trusted_proxies(settings: &Settings) -> TrustedProxies {
    TrustedProxies::new(settings.server.trusted_proxies.iter().map(|proxy| proxy.network()))
}

/// The certificate that the settings name, if they name one.
///
/// # Errors
/// If it cannot be served.
pub fn tls(settings: &Settings) -> Result<Option<Tls>, TlsError> {
    match (&settings.server.tls_cert_file, &settings.server.tls_key_file) {
        (Some(certificate), Some(key)) => Tls::from_files(certificate, key).map(Some),
        // One without the other is refused by `check`.
        _ => Ok(None),
    }
}

/// Serves `app` to at most `max_connections` at once, by `tls` if there is a certificate, and `operations` on a listener of their own, until `shutdown` is ready.
///
/// # Errors
/// If a listener fails for good.
pub async fn serve(
    app: App,
    operations: Operations,
    settings: &Settings,
    tls: Option<Tls>,
    max_connections: usize,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let options = ServeOptions::new()
        .header_timeout(settings.server.header_timeout.as_duration())
        .max_connections(max_connections)
        .max_connections_per_address(
            settings.server.max_connections_per_address.get() as usize,
            trusted_proxies(settings),
        );
    let options = match tls {
        Some(tls) => options.tls(tls),
        None => options,
    };
    let (main, beside) = ((listeners.main, options), (listeners.operations, operations));
    app.serve_with_operations(main, beside, shutdown).await
}

/// How often one address may ask for new passwords, or set them by a token. To whom mail is sent, the framework limits.
fn password_resets() -> Rate {
    Rate::per_hour(20)
}

/// The work that a password's hash is.
pub(crate) fn hash_cost(settings: &Settings) -> HashCost {
    let passwords = &settings.passwords;
    HashCost {
        memory_kib: passwords.argon2_memory_kib.get(),
        iterations: passwords.argon2_iterations.get(),
        parallelism: passwords.argon2_parallelism.get(),
    }
}

fn answers(settings: &Settings) -> resource::Settings {
    resource::Settings {
        pages: PageSettings {
            default_size: settings.pagination.default_size.get(),
            max_size: settings.pagination.max_size.get(),
            over_limit: match settings.pagination.over_limit {
                config::OverLimit::Cap => OverLimit::Cap,
                config::OverLimit::Reject => OverLimit::Reject,
            },
        },
        json_depth: settings.limits.json_depth.get() as usize,
        require_if_match: settings.writes.require_if_match,
        public_url: settings.server.public_url.as_ref().map(config::PublicUrl::to_framework),
    }
}
