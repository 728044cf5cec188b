//! Mail by TLS: a mail server with a certificate of its own authority, and those that are not to be trusted.
use std::{fs, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};

use crate::{
    mail::{Line, MailServer, ask},
    site::Site,
};

/// An authority that nobody trusts but who is told to.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// The TLS of a server that is called `name`.
    fn vouches_for(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        Arc::new(config.unwrap())
    }
}

/// A site whose server sends by `url`, in which `PORT` is the mail server's, and trusts these authorities alone.
fn site(url: &str, mails: &MailServer, trusted: &Authority) -> Site {
    let mut site = Site::new();
    site.set("BAILIWICK_MAIL__TRANSPORT", &url.replace("PORT", &mails.port().to_string()));
    site.set("BAILIWICK_MAIL__FROM", "noreply@example.com");
    let path = site.path("authority.pem");
    fs::write(&path, trusted.pem()).unwrap();
    site.set("SSL_CERT_FILE", path.to_str().unwrap());
    site
}

const FROM_THE_START: &str = "smtps://mailer:s3cr%40t@127.0.0.1:PORT";
const BY_STARTTLS: &str = "smtp://mailer:s3cr%40t@127.0.0.1:PORT?tls=required";

#[tokio::test]
async fn a_mail_server_of_a_trusted_authority_gets_mail_by_tls_and_nothing_in_the_clear() {
    let authority = Authority::new();
    let config = authority.vouches_for("127.0.0.1");
    for (line, url, clear) in [
        (Line::Tls(Arc::clone(&config)), FROM_THE_START, &[][..]),
        (Line::StartTls(config), BY_STARTTLS, &["EHLO", "STARTTLS"]),
    ] {
        let mails = MailServer::on(line);
        let site = site(url, &mails, &authority);
        let server = site.serve();
        ask(&server);
        let mail = mails.mails(1).await.remove(0);
        assert!(mail.token().starts_with("bw_rst_"));
        assert_eq!(mail.credentials.as_deref(), Some("AG1haWxlcgBzM2NyQHQ="), "mailer and s3cr@t");
        assert_eq!(mails.heard_in_the_clear(), clear, "{url}");
    }
}

#[tokio::test]
async fn a_mail_server_under_another_name_or_of_another_authority_is_told_nothing() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for config in [ours.vouches_for("mail.example.com"), theirs.vouches_for("127.0.0.1")] {
        for (line, url) in [
            (Line::Tls(Arc::clone(&config)), FROM_THE_START),
            (Line::StartTls(Arc::clone(&config)), BY_STARTTLS),
        ] {
            is_told_nothing(line, url, &ours).await;
        }
    }
}

// RFC 3207 §6: whoever is on the way takes the offer out, and has the sender speak in the clear.
#[tokio::test]
async fn without_starttls_where_it_is_demanded_nothing_is_said_in_the_clear() {
    for line in [Line::Clear, Line::NoStartTlsToday] {
        is_told_nothing(line, BY_STARTTLS, &Authority::new()).await;
    }
    // A server that has no TLS at all, where it is to begin with that.
    is_told_nothing(Line::Clear, FROM_THE_START, &Authority::new()).await;
}

/// That a mail server hears neither of the letter nor of the password, and that the log does not say more.
async fn is_told_nothing(line: Line, url: &str, trusted: &Authority) {
    let mails = MailServer::on(line);
    let site = site(url, &mails, trusted);
    let server = site.serve();
    ask(&server);
    mails.conversation().await;
    let output = server.stop();
    mails.mails(0).await;
    let heard = mails.heard_in_the_clear();
    assert!(heard.iter().all(|command| ["EHLO", "STARTTLS", "QUIT"].contains(&&**command)), "{heard:?}");
    // Some is worth another try, which the server that stops does not get.
    let said = ["mail that waits to be sent is lost", "a mail could not be sent"];
    assert!(said.iter().any(|said| output.out.contains(said)), "{}", output.out);
    let everything = format!("{}{}", output.out, output.err);
    for secret in ["bw_rst_", "s3cr", "ann@example.com"] {
        assert!(!everything.contains(secret), "{secret}: {everything}");
    }
}
