//! Forged tokens of another issuer, and key sets of all kinds.
use bailiwick_core::clock::OsEntropy;
use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::authn::jwt::{Algorithm, InvalidKeySet, SigningKey, jwks};

const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
const SECOND: i64 = 1_767_225_600;
const ISSUER: &str = "https://login.example.com";

struct World {
    tokens: ExternalTokens,
    key: SigningKey,
    set: KeySet,
}

fn key(algorithm: Algorithm) -> SigningKey {
    SigningKey::generate(algorithm, &OsEntropy).unwrap().0
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn encode(text: &str) -> String {
    BASE64URL_NOPAD.encode(text.as_bytes())
}

/// Signed by `key`, whatever it says.
fn signed(key: &SigningKey, header: &str, payload: &str) -> String {
    let signed = format!("{}.{}", encode(header), encode(payload));
    let signature = BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "api", "sub": "Alice", "iat": SECOND, "nbf": SECOND, "exp": SECOND + 300 })
}

impl World {
    fn new(algorithm: Algorithm) -> Self {
        let key = key(algorithm);
        let tokens = ExternalTokens {
            issuer: ISSUER.to_owned(),
            audience: "api".to_owned(),
            username_claim: "sub".to_owned(),
            types: vec!["at+jwt".to_owned()],
            leeway: Duration::from_secs(30),
        };
        let set = KeySet::parse(jwks([&key]).unwrap().as_bytes()).unwrap();
        Self { tokens, set, key }
    }

    fn header(&self) -> Value {
        json!({ "alg": self.key.algorithm().as_str(), "kid": self.key.kid(), "typ": "at+jwt" })
    }

    fn verify(&self, text: &str) -> Result<ExternalClaims, Invalid> {
        self.tokens.verify(text, NOW, &self.set)
    }

    fn of_header(&self, change: impl FnOnce(&mut Value)) -> Result<ExternalClaims, Invalid> {
        let mut header = self.header();
        change(&mut header);
        self.verify(&signed(&self.key, &header.to_string(), &claims().to_string()))
    }

    fn of_claims(&self, change: impl FnOnce(&mut Value)) -> Result<ExternalClaims, Invalid> {
        let mut claims = claims();
        change(&mut claims);
        self.verify(&signed(&self.key, &self.header().to_string(), &claims.to_string()))
    }
}

const ASYMMETRIC: [Algorithm; 3] = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256];

#[test]
fn a_token_speaks_for_the_user_that_it_names_whatever_signs_it() {
    for algorithm in ASYMMETRIC {
        let world = World::new(algorithm);
        let claims = world.of_claims(|_| {}).unwrap();
        assert_eq!((claims.username.as_str(), &claims.scopes), ("alice", &Scopes::ALL), "{algorithm}");
        assert_eq!(claims.expires_at(), Timestamp::from_micros((SECOND + 300) * 1_000_000));
    }
    let mut world = World::new(Algorithm::EdDsa);
    world.tokens.username_claim = "preferred_username".to_owned();
    assert_eq!(world.of_claims(|_| {}), Err(Invalid::Claims));
    let named = world.of_claims(|claims| claims["preferred_username"] = "bob".into()).unwrap();
    assert_eq!(named.username.as_str(), "bob");
}

// JWT-03, JWT-04, JWT-05, JWT-06, JWT-07, JWT-08
#[test]
fn a_header_chooses_among_the_keys_of_the_issuer_and_demands_nothing() {
    for algorithm in ASYMMETRIC {
        let world = World::new(algorithm);
        for other in [
            "none", "None", "nOnE", "", "HS256", "HS384", "HS512", "hs256", "RS256", "RS512", "PS256",
            "ES256", "ES384", "EdDSA", "Ed25519",
        ] {
            if other != algorithm.as_str() {
                let refused = world.of_header(|header| header["alg"] = other.into());
                assert_eq!(refused, Err(Invalid::Algorithm), "{other} for {algorithm}");
            }
        }
        // HMAC with what everybody knows as its key.
        let jwk = world.key.public_jwk().unwrap().unwrap();
        let public = jwk["x"].as_str().or(jwk["n"].as_str()).unwrap();
        for secret in [public.as_bytes().to_vec(), jwk.to_string().into_bytes(), Vec::new()] {
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
    let world = World::new(Algorithm::EdDsa);
    for kid in ["", "other", "../../dev/null", "https://evil.example/key"] {
        assert_eq!(world.of_header(|header| header["kid"] = kid.into()), Err(Invalid::UnknownKey), "{kid}");
    }
    let without_kid = world.of_header(|header| drop(header.as_object_mut().unwrap().remove("kid")));
    assert_eq!(without_kid, Err(Invalid::UnknownKey), "even where there is but one key");
    let jwk = world.key.public_jwk().unwrap().unwrap();
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/x5u")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!([])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
    ] {
        assert_eq!(world.of_header(|header| header[name] = value.clone()), Err(Invalid::Header), "{name}");
    }
    assert!(world.of_header(|header| header["x5t"] = "digest".into()).is_ok());
    for typ in ["JWT", "", "at+jwt ", "logout+jwt", "text/at+jwt"] {
        assert_eq!(world.of_header(|header| header["typ"] = typ.into()), Err(Invalid::Type), "{typ}");
    }
    let untyped = world.of_header(|header| drop(header.as_object_mut().unwrap().remove("typ")));
    assert_eq!(untyped, Err(Invalid::Type));
    assert!(world.of_header(|header| header["typ"] = "application/AT+JWT".into()).is_ok());
    let twice = format!(r#"{{"alg":"none","alg":"EdDSA","kid":"{}","typ":"at+jwt"}}"#, world.key.kid());
    assert_eq!(world.verify(&signed(&world.key, &twice, &claims().to_string())), Err(Invalid::Malformed));
    let twice = claims().to_string().replace('}', r#","sub":"mallory"}"#);
    assert_eq!(
        world.verify(&signed(&world.key, &world.header().to_string(), &twice)),
        Err(Invalid::Malformed)
    );
}

// JWT-12, JWT-13
#[test]
fn every_claim_that_counts_is_there_has_its_type_and_is_meant_for_here() {
    let world = World::new(Algorithm::EdDsa);
    for claim in ["iss", "aud", "sub", "exp"] {
        let missing = world.of_claims(|claims| drop(claims.as_object_mut().unwrap().remove(claim)));
        assert_eq!(missing, Err(Invalid::Claims), "{claim}");
    }
    for claim in ["iss", "aud", "sub", "exp", "nbf", "iat"] {
        for wrong in [json!(null), json!(true), json!({}), json!([1])] {
            assert_eq!(
                world.of_claims(|claims| claims[claim] = wrong.clone()),
                Err(Invalid::Claims),
                "{claim} {wrong}"
            );
        }
    }
    for claim in ["nbf", "iat"] {
        assert!(world.of_claims(|claims| drop(claims.as_object_mut().unwrap().remove(claim))).is_ok());
        let at = |second: i64| world.of_claims(|claims| claims[claim] = (SECOND + second).into());
        assert!(at(30).is_ok());
        assert_eq!(at(31), Err(Invalid::Early), "{claim}");
    }
    for wrong in [json!("1767225600"), json!(-1), json!(1e300), json!(u64::MAX)] {
        assert_eq!(world.of_claims(|claims| claims["exp"] = wrong.clone()), Err(Invalid::Claims), "{wrong}");
    }
    assert!(world.of_claims(|claims| claims["exp"] = (SECOND - 29).into()).is_ok());
    assert_eq!(world.of_claims(|claims| claims["exp"] = (SECOND - 30).into()), Err(Invalid::Expired));
    for wrong in ["https://login.example.com/", "HTTPS://login.example.com", ""] {
        assert_eq!(world.of_claims(|claims| claims["iss"] = wrong.into()), Err(Invalid::Issuer), "{wrong}");
    }
    for wrong in [json!("apis"), json!([]), json!(["a", "b"]), json!("")] {
        assert_eq!(
            world.of_claims(|claims| claims["aud"] = wrong.clone()),
            Err(Invalid::Audience),
            "{wrong}"
        );
    }
    assert!(world.of_claims(|claims| claims["aud"] = json!(["other", "api"])).is_ok());
    for wrong in ["", "al", "alice smith", "alice\u{0}", "аlice", "alice'--", &"a".repeat(65)] {
        assert_eq!(world.of_claims(|claims| claims["sub"] = wrong.into()), Err(Invalid::Claims), "{wrong}");
    }
}

// JWT-74: one issuer, one key, one type, and still not for this.
#[test]
fn what_says_that_it_is_no_access_token_is_none() {
    let mut world = World::new(Algorithm::Rs256);
    world.tokens.types = vec!["JWT".to_owned()];
    let of = |claim: &str, value: Value| {
        let mut claims = claims();
        claims[claim] = value;
        let mut header = world.header();
        header["typ"] = "JWT".into();
        world.verify(&signed(&world.key, &header.to_string(), &claims.to_string()))
    };
    assert!(of("x", json!(1)).is_ok());
    for (claim, kind) in [("token_type", "access"), ("token_use", "access"), ("typ", "Bearer")] {
        assert!(of(claim, json!(kind)).is_ok(), "{claim} {kind}");
    }
    for (claim, kind) in [
        ("token_type", "refresh"),
        ("token_type", "sliding"),
        ("token_use", "id"),
        ("typ", "ID"),
        ("typ", "Refresh"),
    ] {
        assert_eq!(of(claim, json!(kind)), Err(Invalid::Type), "{claim} {kind}");
    }
    assert_eq!(of("token_type", json!(["access"])), Err(Invalid::Claims));
}

#[test]
fn a_token_may_be_used_for_no_more_than_its_issuer_has_granted() {
    let world = World::new(Algorithm::EdDsa);
    let of = |claims: Value| {
        world.of_claims(|all| all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone()))
    };
    let names = |claims: Value| {
        let scopes = of(claims).unwrap().scopes;
        scopes.names().map(|names| names.map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(names(json!({})), None);
    assert_eq!(
        names(json!({"scope": "tasks:read openid"})),
        Some(vec!["openid".into(), "tasks:read".into()])
    );
    for none in [json!({"scope": ""}), json!({"scope": " "}), json!({"scp": []}), json!({"scope": []})] {
        assert_eq!(names(none.clone()), Some(vec![]), "{none}");
    }
    assert_eq!(names(json!({"scp": ["account", "tasks:read orgs:read"]})).unwrap().len(), 3);
    assert_eq!(names(json!({"scope": "a b", "scp": ["b", "c"]})), Some(vec!["b".into()]));
    for wrong in [json!(null), json!(1), json!({}), json!([1])] {
        assert_eq!(of(json!({"scope": wrong})), Err(Invalid::Claims), "{wrong}");
    }
}

#[test]
fn no_issuer_signs_for_another() {
    let (ours, theirs) = (World::new(Algorithm::EdDsa), World::new(Algorithm::EdDsa));
    let token = signed(&theirs.key, &theirs.header().to_string(), &claims().to_string());
    assert_eq!(ours.verify(&token), Err(Invalid::UnknownKey));
    let token = signed(&theirs.key, &ours.header().to_string(), &claims().to_string());
    assert_eq!(ours.verify(&token), Err(Invalid::Signature));
}

// JWT-01, JWT-09
#[test]
fn only_the_compact_form_is_read_and_only_as_it_was_signed() {
    let world = World::new(Algorithm::EdDsa);
    let token = signed(&world.key, &world.header().to_string(), &claims().to_string());
    for at in 0..token.len() {
        assert!(world.verify(&token[..at]).is_err(), "{at}");
        for other in ["A", "B", "-", "=", ".", " "] {
            let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            assert!(changed == token || world.verify(&changed).is_err(), "{at} {other}");
        }
    }
    let long = world.of_claims(|claims| claims["x"] = "x".repeat(7000).into());
    assert_eq!(long, Err(Invalid::TooLong));
}

// RFC 7517, JWT-10, JWT-30
#[test]
fn entries_that_are_of_no_use_are_left_out_and_the_others_are_used() {
    let key = key(Algorithm::EdDsa);
    let good = key.public_jwk().unwrap().unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut entry = good.clone();
        change(&mut entry);
        set(&[entry]).len()
    };
    let without = |name: &str| with(&|entry| drop(entry.as_object_mut().unwrap().remove(name)));
    assert_eq!(with(&|_| {}), 1);
    assert_eq!((without("alg"), without("use")), (1, 1), "neither need be there");
    for needed in ["kty", "crv", "x", "kid"] {
        assert_eq!(without(needed), 0, "{needed}");
    }
    for (name, value) in [
        ("use", json!("enc")),
        ("use", json!(["sig"])),
        ("key_ops", json!(["sign"])),
        ("key_ops", json!([])),
        ("key_ops", json!("verify")),
        ("alg", json!("ES256")),
        ("alg", json!("HS256")),
        ("alg", json!("none")),
        ("alg", json!(null)),
        ("kty", json!("oct")),
        ("kty", json!("EC")),
        ("crv", json!("Ed448")),
        ("x", json!("")),
        ("x", json!("AAAA")),
        ("kid", json!(1)),
        ("d", json!("AAAA")),
        ("k", json!("AAAA")),
    ] {
        assert_eq!(with(&|entry| entry[name] = value.clone()), 0, "{name} {value}");
    }
    assert_eq!(with(&|entry| entry["key_ops"] = json!(["verify"])), 1);
    assert_eq!(with(&|entry| entry["alg"] = json!("Ed25519")), 1, "RFC 9864");
    // The one that is no use does not make the other one unknown; two of one name are none.
    let mut other = good.clone();
    other["use"] = "enc".into();
    assert_eq!(set(&[other.clone(), good.clone()]).len(), 1);
    assert_eq!(set(&[good.clone(), good.clone(), good.clone()]).len(), 0);
    let secret =
        json!({"kty": "oct", "k": BASE64URL_NOPAD.encode(&[7; 32]), "kid": "secret", "alg": "HS256"});
    let mixed = set(&[secret, good, json!({"kty": "new", "kid": "x"})]);
    assert_eq!((mixed.len(), mixed.left_out()), (1, 2));
}

// JWT-10
#[test]
fn short_and_unheard_of_rsa_keys_are_no_keys() {
    let rsa = |bytes: usize| {
        let mut n = vec![0xc5; bytes];
        n[bytes - 1] = 0x0f;
        let n = BASE64URL_NOPAD.encode(&n);
        set(&[json!({"kty": "RSA", "kid": "x", "n": n, "e": "AQAB"})]).len()
    };
    assert_eq!((rsa(128), rsa(255), rsa(256), rsa(1024), rsa(1025)), (0, 0, 1, 1, 0));
}

// JWT-04: what it is used for is what its entry says, and nothing else.
#[test]
fn an_rsa_key_has_the_one_algorithm_of_its_entry() {
    let world = World::new(Algorithm::Rs256);
    let mut entry = world.key.public_jwk().unwrap().unwrap();
    entry.as_object_mut().unwrap().remove("alg");
    let token = signed(&world.key, &world.header().to_string(), &claims().to_string());
    let verify =
        |entry: &Value| world.tokens.verify(&token, NOW, &set(std::slice::from_ref(entry))).map(drop);
    assert_eq!(verify(&entry), Ok(()), "without alg it is RS256");
    for other in ["PS256", "RS384", "RS512", "PS512"] {
        entry["alg"] = other.into();
        assert_eq!(verify(&entry), Err(Invalid::Algorithm), "{other}");
    }
}

// The other algorithms, by keys of the library.
#[test]
fn pss_and_p384_verify_too() {
    use aws_lc_rs::{
        rand::SystemRandom,
        rsa::{KeyPair, KeySize, PublicKeyComponents},
        signature::{self, EcdsaKeyPair, KeyPair as _},
    };
    let world = World::new(Algorithm::EdDsa);
    let verify = |entry: Value, alg: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        let header = json!({"alg": alg, "kid": "x", "typ": "at+jwt"}).to_string();
        let text = format!("{}.{}", encode(&header), encode(&claims().to_string()));
        let token = format!("{text}.{}", BASE64URL_NOPAD.encode(&sign(text.as_bytes())));
        world.tokens.verify(&token, NOW, &set(&[entry])).map(drop)
    };
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let parts = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let [n, e] = [&parts.n, &parts.e].map(|bytes| BASE64URL_NOPAD.encode(bytes));
    for (alg, padding) in [
        ("PS256", &signature::RSA_PSS_SHA256),
        ("PS512", &signature::RSA_PSS_SHA512),
        ("RS384", &signature::RSA_PKCS1_SHA384),
    ] {
        let sign = |message: &[u8]| {
            let mut made = vec![0; pair.public_modulus_len()];
            pair.sign(padding, &SystemRandom::new(), message, &mut made).unwrap();
            made
        };
        let entry = json!({"kty": "RSA", "kid": "x", "n": n, "e": e, "alg": alg});
        assert_eq!(verify(entry.clone(), alg, &sign), Ok(()), "{alg}");
        assert_eq!(verify(entry, "RS256", &sign), Err(Invalid::Algorithm), "{alg}");
    }
    let pair = EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(48);
    let [x, y] = [x, y].map(|bytes| BASE64URL_NOPAD.encode(bytes));
    let sign = |message: &[u8]| pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
    let entry = json!({"kty": "EC", "crv": "P-384", "kid": "x", "x": x, "y": y});
    assert_eq!(verify(entry.clone(), "ES384", &sign), Ok(()));
    assert_eq!(verify(entry, "ES256", &sign), Err(Invalid::Algorithm));
    // A point that is not on the curve.
    let entry = json!({"kty": "EC", "crv": "P-384", "kid": "x", "x": x, "y": x});
    assert_eq!(verify(entry, "ES384", &sign), Err(Invalid::UnknownKey));
}

#[test]
fn what_is_no_key_set_is_none() {
    let parse = |text: &str| KeySet::parse(text.as_bytes()).map(|set| set.len());
    for garbage in [
        "",
        "null",
        "[]",
        "<html>",
        "{\"keys\":[]",
        "{\"keys\":[],\"keys\":[]}",
        "{\"keys\":[{\"kid\":1,\"kid\":2}]}",
    ] {
        assert_eq!(parse(garbage), Err(InvalidKeySet::Json), "{garbage}");
    }
    for other in ["{}", "{\"keys\":null}", "{\"keys\":{}}", "{\"keys\":[1]}", "{\"error\":\"down\"}"] {
        assert_eq!(parse(other), Err(InvalidKeySet::NoKeys), "{other}");
    }
    assert_eq!(parse("{\"keys\":[],\"more\":1}"), Ok(0));
    assert_eq!(parse("{\"keys\":[{}]}"), Ok(0));
}

proptest! {
    #[test]
    fn no_text_is_a_token_or_a_key_set_and_none_a_panic(text in "[a-zA-Z0-9_.\\-={}\":\\[\\]]{0,200}|.{0,60}") {
        let world = World::new(Algorithm::EdDsa);
        prop_assert!(world.verify(&text).is_err());
        prop_assert!(world.verify(&signed(&world.key, &world.header().to_string(), &text)).is_err());
        let _ = KeySet::parse(text.as_bytes());
        let _ = KeySet::parse(format!("{{\"keys\":[{text}]}}").as_bytes());
    }
}
