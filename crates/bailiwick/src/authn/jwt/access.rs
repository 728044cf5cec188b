//! Access tokens (RFC 9068): their claims, how they are made, and what must be true of them.
use std::time::Duration;

use bailiwick_core::{
    clock::{Clock, Entropy, Timestamp},
    id::Id,
    identity::{FamilyId, UserId},
    model::json::Json,
};
use serde::Serialize;

use super::{
    Invalid, KeyError, SigningKey, VerifyingKey,
    jws::{self, members},
};

/// The type of access tokens (JWT-08).
const TYPE: &str = "at+jwt";
/// The client that all tokens are issued to: whoever knows the password. There are no others yet.
const CLIENT: &str = "bailiwick";

/// Makes and verifies access tokens of one issuer for one audience.
#[derive(Clone, Debug)]
pub struct AccessTokens {
    /// The `iss` of the tokens.
    pub issuer: String,
    /// The `aud` of the tokens.
    pub audience: String,
    /// How long a token lives.
    pub lifetime: Duration,
}

/// Whom a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The user.
    pub user: UserId,
    /// The family of refresh tokens that it was made with: when it ends, so does the token.
    pub family: FamilyId,
}

/// What a token says. It is signed, not secret: there is nothing in it but ids and times (JWT-18).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessClaims {
    /// Who issued it.
    pub iss: String,
    /// For whom.
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The client that got it.
    pub client_id: String,
    /// When it was issued, in seconds since the epoch.
    pub iat: i64,
    /// From when on it is good.
    pub nbf: i64,
    /// When it expires.
    pub exp: i64,
    /// Its own name.
    pub jti: String,
    /// The family of refresh tokens that it was made with.
    pub sid: FamilyId,
}

impl AccessClaims {
    /// Whom the token is for.
    pub const fn subject(&self) -> Subject {
        Subject { user: self.sub, family: self.sid }
    }

    /// When it expires.
    pub const fn expires_at(&self) -> Timestamp {
        seconds(self.exp)
    }

    /// Whether it is good at `now` (JWT-13).
    ///
    /// # Errors
    /// That it has expired, or is not good yet.
    pub fn in_time(&self, now: Timestamp) -> Result<(), Invalid> {
        in_time(self.exp, [self.nbf, self.iat], AccessTokens::LEEWAY, now)
    }
}

impl AccessTokens {
    /// By how much clocks may differ: that of another server that signs with the same keys (contract §2).
    pub const LEEWAY: Duration = Duration::from_secs(5);

    /// Makes a token that is called `jti`.
    ///
    /// # Errors
    /// If the library cannot sign.
    pub fn issue(
        &self,
        key: &SigningKey,
        subject: Subject,
        now: Timestamp,
        jti: String,
    ) -> Result<String, KeyError> {
        let iat = now.as_micros().div_euclid(1_000_000);
        let claims = AccessClaims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: subject.user,
            client_id: CLIENT.to_owned(),
            iat,
            nbf: iat,
            exp: self.expiry(now).as_micros() / 1_000_000,
            jti,
            sid: subject.family,
        };
        let payload = serde_json::to_vec(&claims).map_err(|_| KeyError::NotMade)?;
        jws::seal(key, TYPE, &payload)
    }

    /// When a token that is issued `now` expires.
    pub fn expiry(&self, now: Timestamp) -> Timestamp {
        let second = Timestamp::from_micros(now.as_micros().div_euclid(1_000_000) * 1_000_000);
        second.saturating_add(self.lifetime)
    }

    /// A name for one more token.
    pub(crate) fn name(clock: &dyn Clock, entropy: &dyn Entropy) -> String {
        Id::<AccessClaims>::new(clock, entropy).to_string()
    }

    /// Reads a token that one of the keys has signed: `key` gives the one that is called so. Answers with its claims,
    /// all of which have been checked.
    ///
    /// # Errors
    /// The first thing that is wrong with it, in the order of JWT-01 to JWT-14.
    ///
    /// # Security
    /// That the user is active and the family has not ended is for the caller to look up.
    pub fn verify<'k>(
        &self,
        text: &str,
        now: Timestamp,
        key: impl FnOnce(&str) -> Option<&'k VerifyingKey>,
    ) -> Result<AccessClaims, Invalid> {
        let payload = jws::open(text, &[TYPE], key)?;
        let claims = self.read(&payload)?;
        claims.in_time(now)?;
        Ok(claims)
    }

    /// Reads claims whose signature is right (JWT-12, JWT-14).
    fn read(&self, payload: &[u8]) -> Result<AccessClaims, Invalid> {
        let members = members(payload)?;
        let claim = |name: &str| {
            members.iter().find(|(other, _)| other == name).map(|(_, value)| value).ok_or(Invalid::Claims)
        };
        let text = |name: &str| match claim(name)? {
            Json::String(text) if !text.is_empty() => Ok(text.clone().into_owned()),
            _ => Err(Invalid::Claims),
        };
        let iss = text("iss")?;
        if iss != self.issuer {
            return Err(Invalid::Issuer);
        }
        if !is_for(claim("aud")?, &self.audience)? {
            return Err(Invalid::Audience);
        }
        Ok(AccessClaims {
            iss,
            aud: self.audience.clone(),
            sub: text("sub")?.parse().map_err(|_| Invalid::Claims)?,
            client_id: text("client_id")?,
            iat: date(claim("iat")?)?,
            nbf: date(claim("nbf")?)?,
            exp: date(claim("exp")?)?,
            jti: text("jti")?,
            sid: text("sid")?.parse().map_err(|_| Invalid::Claims)?,
        })
    }
}

/// JWT-12: a text, or a list of which one is ours.
pub(super) fn is_for(aud: &Json<'_>, audience: &str) -> Result<bool, Invalid> {
    let text = |value: &Json<'_>| match value {
        Json::String(text) => Ok(*text == audience),
        _ => Err(Invalid::Claims),
    };
    match aud {
        Json::Array(values) => {
            let found: Vec<bool> = values.iter().map(text).collect::<Result<_, _>>()?;
            Ok(found.contains(&true))
        }
        value => text(value),
    }
}

/// The last moment that a date in a claim may name, in seconds: the year 9999.
const LAST: i64 = Timestamp::MAX.as_micros() / 1_000_000;

/// Seconds since the epoch. Ours have no fraction; one is cut off towards what lets the token live shorter.
pub(super) fn date(value: &Json<'_>) -> Result<i64, Invalid> {
    let Json::Number(number) = value else { return Err(Invalid::Claims) };
    let whole = number.as_i64().or_else(|| {
        let seconds = number.as_f64()?;
        (seconds.abs() <= LAST as f64).then_some(seconds.floor() as i64)
    });
    whole.filter(|seconds| (0..=LAST).contains(seconds)).ok_or(Invalid::Claims)
}

/// JWT-13: whether a token is good at `now` that expires at `exp` and is good from the latest of `from` on, as seen by a clock
/// that differs by no more than `leeway` from that of its issuer.
pub(super) fn in_time(
    exp: i64,
    from: impl IntoIterator<Item = i64>,
    leeway: Duration,
    now: Timestamp,
) -> Result<(), Invalid> {
    if now >= seconds(exp).saturating_add(leeway) {
        return Err(Invalid::Expired);
    }
    let latest = now.saturating_add(leeway);
    if from.into_iter().any(|from| latest < seconds(from)) {
        return Err(Invalid::Early);
    }
    Ok(())
}

pub(super) const fn seconds(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}
