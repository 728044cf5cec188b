//! The hashes were made by Django 5.2.19, with its hashers as they are, from the passwords beside them; those under
//! `CHEAP` with less work.
use argon2::Params;
use proptest::prelude::*;

use super::{Memory, Stored};

/// Longer than what bcrypt reads.
const LONG: &str = concat!(
    "long long long long long long long long long long long long long long long long long long long long ",
    "long long long long long long long long long long long long long long long long long long long long "
);

const DEFAULTS: &[(&str, &str)] = &[
    (
        "correct horse battery",
        "pbkdf2_sha256$1000000$OWueIGwvxlgxG4UJcwjSlo$BHXCzL7oABhpKaxktAvnQb4YJ+Jv15kvF2n87YWHbSA=",
    ),
    ("correct horse battery", "bcrypt_sha256$$2b$12$xYbOCbQGrmPcagV2FvA2g.3mFfkt.gbOqcKOwI5nDXqyEIPfQ2G3i"),
    (
        "correct horse battery",
        "scrypt$16384$ofCwxm6QFLhxOKaAuV5JOa$8$5$acRugj2lNQgXJpD6rBHSOi3GKBl6/+x4rNwe9rrr9mqT/3XTIYnewH0XcQzQhI+5pj8ECarAZkesBKnpQ5WSwA==",
    ),
    (
        "correct horse battery",
        "argon2$argon2id$v=19$m=102400,t=2,p=8$MHFKVlVMYjVUWFlISGhBbXhPaEU4Rw$sToR7YXTKT2OZP/foyvX/vDzzkMcfkLYATqkzEpD3eA",
    ),
    (
        "cafe\u{301} \u{2460} \u{65e5}\u{672c}",
        "pbkdf2_sha256$1000000$Ykx84LBk4wmLQx94CnqF1I$FYNQf5rZoywN+A0+I/tI4wMTDiOExSqL95CbZoseLN4=",
    ),
    (
        "cafe\u{301} \u{2460} \u{65e5}\u{672c}",
        "bcrypt_sha256$$2b$12$uRwTMkxjiisvYaBpkNhy1elCvKuNJlVxzNnecfatdc87eckfi1Xaq",
    ),
    (
        "cafe\u{301} \u{2460} \u{65e5}\u{672c}",
        "scrypt$16384$tEYo3nbJahYnBv4DEfJNaT$8$5$lWAXTIHkRqJSbOjveyfqjKRU/sH5ACdmSGdXy35bxi1heCYCIpOh3F5+nPlCpEwIwY0tkO1L8XeD9eTDcwM8uw==",
    ),
    (
        "cafe\u{301} \u{2460} \u{65e5}\u{672c}",
        "argon2$argon2id$v=19$m=102400,t=2,p=8$T04ycnJPVkcwOWlQcnE0Zk1WdFd4dQ$ENc75OIuM+PzQRg43ibinkAraSomaRuAg0qJ0OOiTus",
    ),
    (LONG, "pbkdf2_sha256$1000000$bINPIX5ZqMVHEaed54tHhj$e+v2uxqpbMJjfQp6vp6l2nRvJhGZ4ifw9lXXutTyaL8="),
    (LONG, "bcrypt_sha256$$2b$12$b/z/H9iHQSJFzXvx1MiwEOroPdnFT2NpX1Eq1zWUpKrkWLDxoDBte"),
    (
        LONG,
        "scrypt$16384$J2eN5AHtR0LzsHnr0bU0b9$8$5$DoKXTsSFbnEtVmrSsIpMTJj/FX7C0Cfbx28Nva7u5fvEasFMrKB+OslYqUkfKXpSSaERoCKlcFvpjeDHAvgsMg==",
    ),
    (
        LONG,
        "argon2$argon2id$v=19$m=102400,t=2,p=8$ODl3djZ3TTdhZnQxRWlrNHpxN09xSA$6IXwqFGSCMmQk/+NIQrS2NWfbzFh43aws8GZ2I7G738",
    ),
];

/// Of `correct horse battery`.
const CHEAP: &[&str] = &[
    "pbkdf2_sha256$1000$seasalt1$0UvS6l9UWQG4zEMeKWDwJFnUyGmC4VWfwUskGdk54Es=",
    "bcrypt_sha256$$2b$04$keo9j6QS1KyYkPg7dhbzruT8pIylLmvYQtrCmlgj.4649YTLdVkFe",
    "scrypt$1024$seasalt1$8$1$Eewjo7MRaKHs8rGrnU5CxG/PUyLNR03r1S4rIZpmsHJ27zRiyDTedjZDm3LdUIQg2MnUGVw/ords9ny/9Gkt5Q==",
    "argon2$argon2id$v=19$m=64,t=1,p=2$c2Vhc2FsdDFzZWFzYWx0MQ$LNwtnz5TtXzpctMKEuX2dwEt1sktz9QR0t+OmHadYnk",
];

fn present() -> Params {
    Params::new(64, 1, 1, None).unwrap()
}

fn matches(password: &str, stored: &str) -> bool {
    let present = present();
    Stored::parse(stored, &present)
        .is_some_and(|hash| hash.matches(&mut Memory::default(), password.as_bytes(), password.as_bytes()))
}

#[test]
fn what_django_makes_matches_its_password_and_no_other() {
    for (password, stored) in DEFAULTS {
        assert!(matches(password, stored), "{stored}");
    }
    for stored in CHEAP {
        assert!(matches("correct horse battery", stored), "{stored}");
        for other in ["correct horse batterz", "", "Correct horse battery", "correct horse battery "] {
            assert!(!matches(other, stored), "{other:?} {stored}");
        }
    }
}

// ASVS 6.2.8: bcrypt alone would not see the end of it.
#[test]
fn a_long_password_is_verified_to_its_end() {
    for (password, stored) in DEFAULTS.iter().filter(|(password, _)| *password == LONG) {
        let cut = &password[..password.len() - 1];
        assert!(!matches(cut, stored), "{stored}");
    }
}

// Django hashes what is typed; ours has one form for what looks the same (PWD-08).
#[test]
fn a_hash_of_django_is_of_the_password_as_it_was_typed() {
    let (typed, plain) = ("cafe\u{301} \u{2460} \u{65e5}\u{672c}", "caf\u{e9} 1 \u{65e5}\u{672c}");
    for (_, stored) in DEFAULTS.iter().filter(|(password, _)| *password == typed) {
        let hash = Stored::parse(stored, &present()).unwrap();
        assert!(hash.matches(&mut Memory::default(), typed.as_bytes(), plain.as_bytes()), "{stored}");
        assert!(!hash.matches(&mut Memory::default(), plain.as_bytes(), plain.as_bytes()), "{stored}");
    }
}

#[test]
fn a_hash_that_would_cost_too_much_is_not_verified() {
    let (sha, long) = ("A".repeat(43) + "=", "A".repeat(86) + "==");
    let bcrypt = "Xcy1l0B7piHoJ/YZqxcX6.Cwxq1TpfeuEbkimDJ5HpUCOwZYsPeMO";
    let argon2 = "c2Vhc2FsdDFzZWFzYWx0MQ$LNwtnz5TtXzpctMKEuX2dwEt1sktz9QR0t+OmHadYnk";
    for (allowed, refused) in [
        (format!("pbkdf2_sha256$5000000$s${sha}"), format!("pbkdf2_sha256$5000001$s${sha}")),
        (format!("bcrypt_sha256$$2b$15${bcrypt}"), format!("bcrypt_sha256$$2b$16${bcrypt}")),
        (format!("scrypt$131072$s$8$2${long}"), format!("scrypt$131072$s$8$3${long}")),
        (format!("scrypt$131072$s$8$1${long}"), format!("scrypt$262144$s$8$1${long}")),
        (
            format!("$argon2id$v=19$m=131072,t=8,p=1${argon2}"),
            format!("$argon2id$v=19$m=131072,t=9,p=1${argon2}"),
        ),
        (
            format!("argon2$argon2id$v=19$m=65536,t=16,p=1${argon2}"),
            format!("argon2$argon2id$v=19$m=131080,t=1,p=1${argon2}"),
        ),
    ] {
        assert!(Stored::parse(&allowed, &present()).is_some(), "{allowed}");
        assert!(Stored::parse(&refused, &present()).is_none(), "{refused}");
    }
    // Who chose to pay more for each hash can verify what was made so.
    let costly = Params::new(1 << 20, 4, 1, None).unwrap();
    let made = format!("$argon2id$v=19$m=1048576,t=4,p=1${argon2}");
    assert!(Stored::parse(&made, &costly).is_some_and(|hash| hash.is_as_good_as(&costly)));
    assert!(Stored::parse(&made, &present()).is_none());
}

#[test]
fn what_is_no_hash_matches_nothing() {
    let number = u64::MAX.to_string();
    for stored in [
        "",
        "$",
        "!",
        "plain",
        "!unusable",
        "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99",
        "argon2",
        "argon2$",
        "argon2$argon2i$v=19$m=64,t=1,p=2$c2Vhc2FsdDFzZWFzYWx0MQ$LNwtnz5TtXzpctMKEuX2dwEt1sktz9QR0t+OmHadYnk",
        "$argon2id$v=16$m=64,t=1,p=2$c2Vhc2FsdDFzZWFzYWx0MQ$LNwtnz5TtXzpctMKEuX2dwEt1sktz9QR0t+OmHadYnk",
        "$argon2id$v=19$m=64,t=1,p=2$c2Vhc2FsdDFzZWFzYWx0MQ",
        "$argon2id$v=19$m=64,t=1,p=2",
        "pbkdf2_sha256$0$salt$0UvS6l9UWQG4zEMeKWDwJFnUyGmC4VWfwUskGdk54Es=",
        "pbkdf2_sha256$+9$salt$0UvS6l9UWQG4zEMeKWDwJFnUyGmC4VWfwUskGdk54Es=",
        "pbkdf2_sha256$9$salt$0UvS6l9UWQ==",
        "pbkdf2_sha256$9$salt$",
        "pbkdf2_sha256$9$salt$x$0UvS6l9UWQG4zEMeKWDwJFnUyGmC4VWfwUskGdk54Es=",
        "bcrypt_sha256$$2b$99$Xcy1l0B7piHoJ/YZqxcX6.Cwxq1TpfeuEbkimDJ5HpUCOwZYsPeMO",
        "bcrypt_sha256$$2b$04$\u{e9}cy1l0B7piHoJ/YZqxcX6.Cwxq1TpfeuEbkimDJ5HpUCOwZYsPeM",
        "bcrypt_sha256$2b$04$short",
        "scrypt$0$salt$8$1$",
        "scrypt$3$salt$8$1$Eewjo7MRaKHs8rGrnU5CxG/PUyLNR03r1S4rIZpmsHJ27zRiyDTedjZDm3LdUIQg2MnUGVw/ords9ny/9Gkt5Q==",
        "scrypt$16$salt$0$1$Eewjo7MRaKHs8rGrnU5CxG/PUyLNR03r1S4rIZpmsHJ27zRiyDTedjZDm3LdUIQg2MnUGVw/ords9ny/9Gkt5Q==",
        "scrypt$16$salt$1$0$Eewjo7MRaKHs8rGrnU5CxG/PUyLNR03r1S4rIZpmsHJ27zRiyDTedjZDm3LdUIQg2MnUGVw/ords9ny/9Gkt5Q==",
        "scrypt$4294967295$salt$4294967295$4294967295$",
        &number,
        &"$".repeat(600),
    ] {
        assert!(!matches("correct horse battery", stored), "{stored}");
    }
}

proptest! {
    #[test]
    fn no_stored_text_makes_it_panic(
        kind in prop::sample::select(vec!["", "$argon2id$", "argon2$argon2id$", "pbkdf2_sha256$", "bcrypt_sha256$", "scrypt$"]),
        rest in "([0-9]{1,10}|[a-z$,=]{0,9}|\\PC{0,9}|\\$){0,9}",
    ) {
        let text = format!("{kind}{rest}");
        // Only reading: what the bounds let through may still take seconds.
        let _ = Stored::parse(&text, &present());
    }
}
