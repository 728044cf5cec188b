//! The signed envelope, in its compact form (RFC 7515).
use std::borrow::Cow;

use bailiwick_core::model::json::{self, Json};
use data_encoding::BASE64URL_NOPAD;

use super::{KeyError, SigningKey};

/// The longest token that is looked at, in bytes (JWT-02).
pub const MAX_BYTES: usize = 8 * 1024;
/// How deep a header or claims may nest.
const DEPTH: usize = 8;

/// Why a token is not accepted. A client is told no more than whether it expired (JWT-15); the rest is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// It was good, and its time is over.
    #[error("the token has expired")]
    Expired,
    /// Longer than [`MAX_BYTES`].
    #[error("the token is too long")]
    TooLong,
    /// Not three parts of base64url, or no JSON where there must be some (JWT-01, JWT-07).
    #[error("the token is malformed")]
    Malformed,
    /// An algorithm that is not on the list, or not the key's (JWT-03, JWT-04).
    #[error("the token has another algorithm than its key")]
    Algorithm,
    /// No key is called so (JWT-05).
    #[error("no key has the kid of the token")]
    UnknownKey,
    /// The header brings a key, or says where one is (JWT-05), or demands what is not understood (JWT-06).
    #[error("the header of the token has a member that is not accepted")]
    Header,
    /// It is another kind of token (JWT-08).
    #[error("the token has another type")]
    Type,
    /// The signature is not one by the key.
    #[error("the signature of the token is wrong")]
    Signature,
    /// A claim is missing or has the wrong type (JWT-14).
    #[error("a claim of the token is missing or malformed")]
    Claims,
    /// It is somebody else's (JWT-12).
    #[error("the token has another issuer")]
    Issuer,
    /// It is for somebody else (JWT-12).
    #[error("the token has another audience")]
    Audience,
    /// It is not good yet, or was issued in the future (JWT-13).
    #[error("the token is not valid yet")]
    Early,
}

/// A key that is known, for one algorithm (JWT-04).
pub(super) trait KnownKey {
    /// Members of a header that say something about the key, and are not looked at. Any other that does is refused.
    const IGNORED: &'static [&'static str];

    /// Whether there is any such key for the algorithm that is called so, in exactly this case (JWT-03).
    fn is_algorithm(name: &str) -> bool;

    /// The name of its algorithm.
    fn algorithm_name(&self) -> &str;

    /// Whether `signature` is one of `message` by this key.
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool;
}

/// Signs `payload` as a token of this type.
pub(super) fn seal(key: &SigningKey, typ: &str, payload: &[u8]) -> Result<String, KeyError> {
    let header = serde_json::json!({ "alg": key.algorithm().as_str(), "kid": key.kid(), "typ": typ });
    let mut text = BASE64URL_NOPAD.encode(header.to_string().as_bytes());
    text.push('.');
    BASE64URL_NOPAD.encode_append(payload, &mut text);
    let signature = key.sign(text.as_bytes())?;
    text.push('.');
    BASE64URL_NOPAD.encode_append(&signature, &mut text);
    Ok(text)
}

/// Opens a token of one of these types that one of the keys has signed, and gives what was signed. Nothing of what was signed is looked at before
/// (JWT-09).
pub(super) fn open<'k, K: KnownKey + 'k>(
    text: &str,
    types: &[impl AsRef<str>],
    key: impl FnOnce(&str) -> Option<&'k K>,
) -> Result<Vec<u8>, Invalid> {
    let (signed, payload, signature) = split(text)?;
    let (header, _) = signed.split_once('.').ok_or(Invalid::Malformed)?;
    let header = decode(header)?;
    let header = Header::read(&header, K::IGNORED)?;
    let payload = decode(payload)?;
    let signature = decode(signature)?;
    if !K::is_algorithm(&header.alg) {
        return Err(Invalid::Algorithm);
    }
    let key = key(&header.kid).ok_or(Invalid::UnknownKey)?;
    if key.algorithm_name() != header.alg {
        return Err(Invalid::Algorithm);
    }
    if !types.iter().any(|typ| is_type(&header.typ, typ.as_ref())) {
        return Err(Invalid::Type);
    }
    if !key.verifies(signed.as_bytes(), &signature) {
        return Err(Invalid::Signature);
    }
    Ok(payload)
}

/// What a token says of its issuer, whoever has signed it: only to choose among those that are known (JWT-09).
pub(in crate::authn) fn claimed_issuer(text: &str) -> Option<String> {
    let payload = decode(split(text).ok()?.1).ok()?;
    let found = members(&payload).ok()?.into_iter().find(|(name, _)| name == "iss");
    match found {
        Some((_, Json::String(issuer))) => Some(issuer.into_owned()),
        _ => None,
    }
}

/// What is signed, the payload in it, and the signature, none of them decoded.
fn split(text: &str) -> Result<(&str, &str, &str), Invalid> {
    // JWT-02: before anything is decoded.
    if text.len() > MAX_BYTES {
        return Err(Invalid::TooLong);
    }
    // JWT-01: three parts, no more; two dots in all.
    let (signed, signature) = text.rsplit_once('.').ok_or(Invalid::Malformed)?;
    let (_, payload) = signed.split_once('.').ok_or(Invalid::Malformed)?;
    Ok((signed, payload, signature))
}

/// JWT-01: base64url without padding, white space or bits left over.
fn decode(part: &str) -> Result<Vec<u8>, Invalid> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Invalid::Malformed)
}

/// The members of an object, each named once (JWT-07).
pub(super) fn members(bytes: &[u8]) -> Result<Vec<(Cow<'_, str>, Json<'_>)>, Invalid> {
    match json::parse(bytes, DEPTH) {
        Ok(Json::Object(members)) => Ok(members),
        _ => Err(Invalid::Malformed),
    }
}

struct Header<'h> {
    alg: Cow<'h, str>,
    kid: Cow<'h, str>,
    typ: Cow<'h, str>,
}

impl<'h> Header<'h> {
    fn read(bytes: &'h [u8], ignored: &[&str]) -> Result<Self, Invalid> {
        let members = members(bytes)?;
        let (mut alg, mut kid, mut typ) = (None, None, None);
        for (name, value) in members {
            let place = match name.as_ref() {
                "alg" => &mut alg,
                "kid" => &mut kid,
                "typ" => &mut typ,
                name if ignored.contains(&name) => continue,
                // JWT-05: a token that brings its own key, or says where to fetch it. JWT-06: no extension is
                // understood, so none may be critical; `b64` and `zip` change what was signed, `enc` makes it a JWE.
                "jku" | "jwk" | "x5u" | "x5c" | "x5t" | "x5t#S256" | "crit" | "b64" | "zip" | "enc" => {
                    return Err(Invalid::Header);
                }
                _ => continue,
            };
            let Json::String(text) = value else { return Err(Invalid::Malformed) };
            *place = Some(text);
        }
        Ok(Self {
            alg: alg.ok_or(Invalid::Algorithm)?,
            kid: kid.ok_or(Invalid::UnknownKey)?,
            typ: typ.ok_or(Invalid::Type)?,
        })
    }
}

/// JWT-08: media types are compared without regard to case, and one without a slash is one of `application/`.
fn is_type(found: &str, expected: &str) -> bool {
    const APPLICATION: &str = "application/";
    let short = match found.get(..APPLICATION.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(APPLICATION) => &found[APPLICATION.len()..],
        _ => found,
    };
    short.eq_ignore_ascii_case(expected)
}
