//! Forged and broken tokens: none is accepted, and none makes anything else of the reader than a refusal.
use std::time::Duration;

use bailiwick_core::clock::{OsEntropy, Timestamp};
use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{AccessClaims, AccessTokens, Algorithm, Invalid, SigningKey, Subject, VerifyingKey, jws};
use bailiwick_core::id::Id;

const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
const SECOND: i64 = 1_767_225_600;

struct World {
    tokens: AccessTokens,
    key: SigningKey,
    verifying: VerifyingKey,
}

impl World {
    fn new(algorithm: Algorithm) -> Self {
        let (key, _) = SigningKey::generate(algorithm, &OsEntropy).unwrap();
        let tokens = AccessTokens {
            issuer: "https://api.example.com".to_owned(),
            audience: "https://api.example.com/v1".to_owned(),
            lifetime: Duration::from_secs(300),
        };
        Self { tokens, verifying: key.verifying().unwrap(), key }
    }

    fn verify(&self, text: &str) -> Result<AccessClaims, Invalid> {
        self.verify_at(text, NOW)
    }

    fn verify_at(&self, text: &str, now: Timestamp) -> Result<AccessClaims, Invalid> {
        self.tokens.verify(text, now, |kid| (kid == self.key.kid()).then_some(&self.verifying))
    }

    fn good(&self) -> String {
        self.tokens.issue(&self.key, subject(), NOW, "name".to_owned()).unwrap()
    }

    /// Signed by the right key, whatever it says.
    fn signed(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = BASE64URL_NOPAD.encode(&self.key.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{signature}")
    }

    fn header(&self) -> Value {
        json!({ "alg": self.key.algorithm().as_str(), "kid": self.key.kid(), "typ": "at+jwt" })
    }

    /// With this header, and the right claims.
    fn with_header(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut header = self.header();
        change(&mut header);
        self.signed(&header.to_string(), &claims().to_string())
    }

    /// With these claims, and the right header.
    fn with_claims(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = claims();
        change(&mut claims);
        self.signed(&self.header().to_string(), &claims.to_string())
    }
}

fn encode(text: &str) -> String {
    BASE64URL_NOPAD.encode(text.as_bytes())
}

fn subject() -> Subject {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    Subject { user: id.parse().unwrap(), family: Id::from_uuid(uuid::Uuid::from_u128(7)) }
}

fn claims() -> Value {
    json!({
        "iss": "https://api.example.com", "aud": "https://api.example.com/v1", "client_id": "bailiwick",
        "sub": subject().user, "sid": subject().family, "jti": "name",
        "iat": SECOND, "nbf": SECOND, "exp": SECOND + 300,
    })
}

// JWT-14
#[test]
fn a_token_reads_as_it_was_issued_whatever_signs_it() {
    for algorithm in Algorithm::ALL {
        let world = World::new(algorithm);
        let claims = world.verify(&world.good()).unwrap();
        assert_eq!(serde_json::to_value(&claims).unwrap(), self::claims(), "{algorithm}");
        assert_eq!(claims.subject(), subject());
        assert_eq!(world.verify(&world.with_claims(|_| ())), Ok(claims));
    }
}

// JWT-13
#[test]
fn a_token_is_good_from_its_beginning_to_its_end_and_five_seconds_more() {
    let world = World::new(Algorithm::EdDsa);
    let token = world.good();
    let at =
        |micros: i64| world.verify_at(&token, Timestamp::from_micros(NOW.as_micros() + micros)).map(drop);
    assert_eq!(at(0), Ok(()));
    assert_eq!(at(-5_000_000), Ok(()));
    assert_eq!(at(-5_000_001), Err(Invalid::Early));
    assert_eq!(at(304_999_999), Ok(()));
    assert_eq!(at(305_000_000), Err(Invalid::Expired));
    for claim in ["nbf", "iat"] {
        let late = world.with_claims(|claims| claims[claim] = (SECOND + 6).into());
        assert_eq!(world.verify(&late), Err(Invalid::Early), "{claim}");
    }
    // It never lives longer than it says, not by a part of a second.
    let odd = Timestamp::from_micros(NOW.as_micros() + 999_999);
    let claims =
        world.verify(&world.tokens.issue(&world.key, subject(), odd, "x".to_owned()).unwrap()).unwrap();
    assert_eq!((claims.iat, claims.exp), (SECOND, SECOND + 300));
    assert_eq!(world.tokens.expiry(odd), claims.expires_at());
}

// JWT-03, JWT-04: the public key as a secret, and every other mixture.
#[test]
fn a_key_has_one_algorithm() {
    for algorithm in Algorithm::ALL {
        let world = World::new(algorithm);
        for other in [
            "none", "None", "NONE", "nOnE", "", "HS256", "hs256", "RS256", "ES256", "EdDSA", "Ed25519",
            "PS256", "HS512",
        ] {
            if other == algorithm.as_str() {
                continue;
            }
            let token = world.with_header(|header| header["alg"] = other.into());
            assert_eq!(world.verify(&token), Err(Invalid::Algorithm), "{other} for {algorithm}");
            // Without a signature, with the claims as they were.
            let bare = format!("{}.", &token[..token.rfind('.').unwrap()]);
            assert!(world.verify(&bare).is_err(), "{other} for {algorithm}");
        }
        // HMAC with what everybody knows as its key.
        if let Some(jwk) = world.key.public_jwk().unwrap() {
            let public = jwk["x"].as_str().or(jwk["n"].as_str()).unwrap();
            for secret in [
                BASE64URL_NOPAD.decode(public.as_bytes()).unwrap(),
                public.as_bytes().to_vec(),
                jwk.to_string().into_bytes(),
                Vec::new(),
            ] {
                let mac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
                for name in ["HS256", algorithm.as_str()] {
                    let mut header = world.header();
                    header["alg"] = name.into();
                    let signed = format!("{}.{}", encode(&header.to_string()), encode(&claims().to_string()));
                    let tag = BASE64URL_NOPAD.encode(aws_lc_rs::hmac::sign(&mac, signed.as_bytes()).as_ref());
                    assert!(world.verify(&format!("{signed}.{tag}")).is_err());
                }
            }
        }
    }
}

// JWT-05, JWT-06, JWT-07, JWT-08
#[test]
fn a_header_chooses_among_the_keys_that_are_known_and_demands_nothing() {
    let world = World::new(Algorithm::EdDsa);
    let refused = |change: &dyn Fn(&mut Value)| world.verify(&world.with_header(change)).unwrap_err();
    for kid in ["", "other", "../../dev/null", "' OR 1=1 --", "\u{0}", "https://evil.example/key"] {
        assert_eq!(refused(&|header| header["kid"] = kid.into()), Invalid::UnknownKey, "{kid}");
    }
    for kid in [json!(null), json!(1), json!([]), json!({}), json!(true)] {
        assert_eq!(refused(&|header| header["kid"] = kid.clone()), Invalid::Malformed);
    }
    let jwk = world.key.public_jwk().unwrap().unwrap();
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/x5u")),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("abc")),
        ("crit", json!([])),
        ("crit", json!(["exp"])),
        ("crit", json!(["alg"])),
        ("crit", json!(null)),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
    ] {
        assert_eq!(refused(&|header| header[name] = value.clone()), Invalid::Header, "{name}");
    }
    for typ in
        ["JWT", "jwt", "", "at+jwt ", "text/at+jwt", "logout+jwt", "application/at+jwt+json", "application/"]
    {
        assert_eq!(refused(&|header| header["typ"] = typ.into()), Invalid::Type, "{typ}");
    }
    for typ in ["AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        assert!(world.verify(&world.with_header(|header| header["typ"] = typ.into())).is_ok(), "{typ}");
    }
    assert!(world.verify(&world.with_header(|header| header["note"] = "kept".into())).is_ok());
    for missing in ["alg", "kid", "typ"] {
        refused(&|header| drop(header.as_object_mut().unwrap().remove(missing)));
    }
    let twice = format!(r#"{{"alg":"none","alg":"EdDSA","kid":"{}","typ":"at+jwt"}}"#, world.key.kid());
    assert_eq!(world.verify(&world.signed(&twice, &claims().to_string())), Err(Invalid::Malformed));
    for header in ["", "null", "[]", "\"EdDSA\"", "{", "{}x", &"[".repeat(5000)] {
        assert!(world.verify(&world.signed(header, &claims().to_string())).is_err(), "{header}");
    }
}

// JWT-07, JWT-12, JWT-14
#[test]
fn every_claim_is_there_has_its_type_and_is_ours() {
    let world = World::new(Algorithm::EdDsa);
    let of = |change: &dyn Fn(&mut Value)| world.verify(&world.with_claims(change));
    for claim in ["iss", "aud", "sub", "client_id", "iat", "nbf", "exp", "jti", "sid"] {
        assert_eq!(
            of(&|claims| drop(claims.as_object_mut().unwrap().remove(claim))),
            Err(Invalid::Claims),
            "{claim}"
        );
        for wrong in [json!(null), json!(true), json!({}), json!({"a": 1}), json!("")] {
            assert_eq!(
                of(&|claims| claims[claim] = wrong.clone()).map(drop),
                Err(match (claim, &wrong) {
                    ("aud", Value::String(_)) => Invalid::Audience,
                    _ => Invalid::Claims,
                }),
                "{claim} {wrong}"
            );
        }
    }
    for claim in ["iat", "nbf", "exp"] {
        for wrong in [
            json!("1767225600"),
            json!([SECOND]),
            json!(-1),
            json!(1e300),
            json!(-1e300),
            json!(u64::MAX),
            json!(i64::MIN),
        ] {
            assert_eq!(of(&|claims| claims[claim] = wrong.clone()), Err(Invalid::Claims), "{claim} {wrong}");
        }
        assert!(
            of(&|claims| claims[claim] = json!(claims[claim].as_f64().unwrap() + 0.5)).is_ok(),
            "{claim}"
        );
    }
    for wrong in ["https://api.example.com/", "HTTPS://api.example.com", "https://evil.example"] {
        assert_eq!(of(&|claims| claims["iss"] = wrong.into()), Err(Invalid::Issuer), "{wrong}");
    }
    for wrong in [json!("https://api.example.com"), json!([]), json!(["a", "b"])] {
        assert_eq!(of(&|claims| claims["aud"] = wrong.clone()), Err(Invalid::Audience), "{wrong}");
    }
    for wrong in [json!(["https://api.example.com/v1", 1]), json!([["https://api.example.com/v1"]])] {
        assert_eq!(of(&|claims| claims["aud"] = wrong.clone()), Err(Invalid::Claims), "{wrong}");
    }
    assert!(of(&|claims| claims["aud"] = json!(["other", "https://api.example.com/v1"])).is_ok());
    for claim in ["sub", "sid"] {
        for wrong in ["1", "alice", "01890A5D-AC96-774B-BCCE-B302099A8057"] {
            assert_eq!(of(&|claims| claims[claim] = wrong.into()), Err(Invalid::Claims), "{wrong}");
        }
    }
    let twice = claims().to_string().replace('}', r#","sub":"01890a5d-ac96-774b-bcce-b302099a8057"}"#);
    let twice = world.signed(&world.header().to_string(), &twice);
    assert_eq!(world.verify(&twice), Err(Invalid::Malformed));
    for payload in ["", "null", "[]", "not json", "{}"] {
        assert!(world.verify(&world.signed(&world.header().to_string(), payload)).is_err(), "{payload}");
    }
}

// JWT-01, JWT-02, JWT-09
#[test]
fn only_the_compact_form_is_read_and_only_as_it_was_signed() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Hs256] {
        let world = World::new(algorithm);
        let token = world.good();
        for end in 0..token.len() {
            assert!(world.verify(&token[..end]).is_err(), "{end}");
        }
        // Every character of it counts, the last bits of the signature too.
        for at in 0..token.len() {
            for other in ["A", "B", "-", "_", "=", ".", "+", "/", " ", "\n"] {
                let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
                assert!(changed == token || world.verify(&changed).is_err(), "{at} {other}");
            }
        }
        let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
            panic!("{token}")
        };
        for wrong in [
            format!(" {token}"),
            format!("{token} "),
            format!("{token}="),
            format!("{token}."),
            format!(".{token}"),
            format!("{header}.{payload}"),
            format!("{header}.{payload}."),
            format!("{header}..{signature}"),
            format!(".{payload}.{signature}"),
            format!("{header}.{payload}.{signature}.{signature}.{signature}"),
            format!("{header}.{payload}.{}", "A".repeat(86)),
            format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#),
            "..".to_owned(),
            String::new(),
        ] {
            assert!(world.verify(&wrong).is_err(), "{wrong}");
        }
    }
    let world = World::new(Algorithm::EdDsa);
    for long in
        ["a".repeat(64 * 1024), format!("{}.a", "a.".repeat(32 * 1024)), ".".repeat(jws::MAX_BYTES + 1)]
    {
        assert_eq!(world.verify(&long), Err(Invalid::TooLong));
    }
    let padded = |chars: usize| world.with_claims(|claims| claims["x"] = "x".repeat(chars).into());
    assert_eq!(world.verify(&padded(7000)), Err(Invalid::TooLong));
    assert!(world.verify(&padded(4000)).is_ok());
}

// JWT-09: nothing of what is not signed by the key is looked at.
#[test]
fn another_key_of_the_same_kind_signs_for_nobody() {
    for algorithm in Algorithm::ALL {
        let (ours, theirs) = (World::new(algorithm), World::new(algorithm));
        assert_eq!(ours.verify(&theirs.good()), Err(Invalid::UnknownKey));
        let forged = theirs.with_header(|header| header["kid"] = ours.key.kid().into());
        assert_eq!(ours.verify(&forged), Err(Invalid::Signature), "{algorithm}");
        // Not even whether it has expired.
        let old = Timestamp::from_micros(NOW.as_micros() + 10_000_000_000);
        assert_eq!(ours.verify_at(&forged, old), Err(Invalid::Signature));
    }
}

proptest! {
    #[test]
    fn no_text_is_a_token_and_none_a_panic(text in "[a-zA-Z0-9_.\\-=]{0,200}|.{0,60}") {
        let world = World::new(Algorithm::Hs256);
        prop_assert!(world.verify(&text).is_err());
        prop_assert!(world.verify(&world.signed(&text, &text)).is_err());
        prop_assert!(world.verify(&world.signed(&world.header().to_string(), &text)).is_err());
    }
}
