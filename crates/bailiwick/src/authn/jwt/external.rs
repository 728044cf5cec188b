//! Access tokens of another issuer: what must be true of them.
use std::time::Duration;

use bailiwick_core::{
    clock::Timestamp,
    identity::{FoldedUsername, Scopes, Username},
    model::json::Json,
};

use super::{
    Invalid, KeySet,
    access::{date, in_time, is_for, seconds},
    jws::{self, members},
};

/// Verifies access tokens of one other issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalTokens {
    /// The `iss` of the tokens, letter by letter.
    pub issuer: String,
    /// What must stand in their `aud`.
    pub audience: String,
    /// The claim that holds the name of a user of ours.
    pub username_claim: String,
    /// The types that are accepted, without regard to case; one without a slash is one of `application/` (JWT-08).
    pub types: Vec<String>,
    /// By how much the issuer's clock may differ from ours.
    pub leeway: Duration,
}

/// What a token of another issuer says that counts here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalClaims {
    /// The user.
    pub username: FoldedUsername,
    /// What the token may be used for: what its issuer has granted, or all that the user may do if it does not say.
    pub scopes: Scopes,
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
}

impl ExternalClaims {
    /// When the token expires.
    pub const fn expires_at(&self) -> Timestamp {
        seconds(self.exp)
    }
}

/// Claims by which issuers tell kinds of tokens from each other that all have the type `JWT`: simplejwt's, Cognito's and
/// Keycloak's.
const KINDS: [&str; 3] = ["token_type", "token_use", "typ"];
/// What they say of an access token.
const ACCESS: [&str; 2] = ["access", "bearer"];

impl ExternalTokens {
    /// The types that RFC 9068 gives access tokens: `at+jwt`.
    pub const TYPES: [&'static str; 1] = ["at+jwt"];

    /// Reads a token that one of the issuer's keys has signed. Answers with its claims, all of which have been checked.
    ///
    /// # Errors
    /// The first thing that is wrong with it, in the order of JWT-01 to JWT-13.
    ///
    /// # Security
    /// That the user exists and is active is for the caller to look up. A refresh token or an identity token that says it
    /// is one is refused, whatever its type.
    pub fn verify(&self, text: &str, now: Timestamp, keys: &KeySet) -> Result<ExternalClaims, Invalid> {
        let payload = jws::open(text, &self.types, |kid| keys.key(kid))?;
        let claims = self.read(&payload)?;
        self.in_time(&claims, now)?;
        Ok(claims)
    }

    /// Whether a token is good at `now` (JWT-13).
    ///
    /// # Errors
    /// That it has expired, or is not good yet.
    pub fn in_time(&self, claims: &ExternalClaims, now: Timestamp) -> Result<(), Invalid> {
        in_time(claims.exp, [claims.nbf, claims.iat].into_iter().flatten(), self.leeway, now)
    }

    /// Reads claims whose signature is right (JWT-12).
    fn read(&self, payload: &[u8]) -> Result<ExternalClaims, Invalid> {
        let members = members(payload)?;
        let claim = |name: &str| members.iter().find(|(other, _)| other == name).map(|(_, value)| value);
        let text = |name: &str| match claim(name) {
            Some(Json::String(text)) => Ok(text.as_ref()),
            _ => Err(Invalid::Claims),
        };
        if text("iss")? != self.issuer {
            return Err(Invalid::Issuer);
        }
        if !is_for(claim("aud").ok_or(Invalid::Claims)?, &self.audience)? {
            return Err(Invalid::Audience);
        }
        for kind in KINDS.into_iter().filter(|name| claim(name).is_some()) {
            let kind = text(kind)?;
            if !ACCESS.iter().any(|access| kind.eq_ignore_ascii_case(access)) {
                return Err(Invalid::Type);
            }
        }
        let username: Username = text(&self.username_claim)?.parse().map_err(|_| Invalid::Claims)?;
        Ok(ExternalClaims {
            username: username.folded(),
            scopes: scopes([claim("scope"), claim("scp")])?,
            exp: date(claim("exp").ok_or(Invalid::Claims)?)?,
            nbf: claim("nbf").map(date).transpose()?,
            iat: claim("iat").map(date).transpose()?,
        })
    }
}

/// What was granted: names in a text with spaces (RFC 9068 §2.2.3), or in a list, as some issuers have it. Where both claims
/// stand, only what both name. Names that are none of ours allow nothing.
fn scopes(claims: [Option<&Json<'_>>; 2]) -> Result<Scopes, Invalid> {
    let mut granted: Option<Vec<&str>> = None;
    for claim in claims.into_iter().flatten() {
        let texts: Vec<&str> = match claim {
            Json::String(text) => vec![text],
            Json::Array(values) => values
                .iter()
                .map(|value| match value {
                    Json::String(text) => Ok(text.as_ref()),
                    _ => Err(Invalid::Claims),
                })
                .collect::<Result<_, _>>()?,
            _ => return Err(Invalid::Claims),
        };
        let names = texts.into_iter().flat_map(|text| text.split(' ')).filter(|name| !name.is_empty());
        granted = Some(match granted {
            None => names.collect(),
            Some(before) => names.filter(|name| before.contains(name)).collect(),
        });
    }
    Ok(granted.map_or(Scopes::ALL, Scopes::only))
}

#[cfg(test)]
mod tests;
