//! Reads what proxies say of a request.
//!
//! Each proxy adds the address that it was called from to the right of what it was sent. So the fields are read from the
//! right, as long as they tell of trusted proxies.
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::TrustedProxies;

pub(super) const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What proxies say of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Where it comes from: the nearest proxy, where that does not tell.
    pub(super) address: IpAddr,
    /// Whether it says that its client came over https.
    pub(super) is_https: bool,
    /// The host that the client named, if they tell.
    pub(super) host: Option<HeaderValue>,
    /// Whether all of it keeps to its grammar. What a client made up could else hide what a proxy added.
    pub(super) is_readable: bool,
}

/// What `X-Forwarded-For`, `-Proto` and `-Host` say of a request from `peer`, which is trusted.
pub(super) fn x_forwarded(headers: &HeaderMap, peer: IpAddr, trusted: &TrustedProxies) -> Said {
    let (address, hops) = client(from_the_right(headers, &FOR).map(address_of), peer, trusted);
    let is_https = at(headers, &PROTO, hops).is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
    let host = at(headers, &HOST, hops).and_then(|host| HeaderValue::from_str(host).ok());
    // Each member stands for itself.
    Said { address, is_https, host, is_readable: true }
}

/// What `Forwarded` says of a request from `peer`, which is trusted (RFC 7239).
pub(super) fn forwarded(headers: &HeaderMap, peer: IpAddr, trusted: &TrustedProxies) -> Said {
    let mut elements = Vec::new();
    for field in headers.get_all(header::FORWARDED) {
        // What cannot be read hides what stands left of it, and nothing else.
        match field.to_str().ok().and_then(elements_of) {
            Some(more) => elements.extend(more.into_iter().map(Some)),
            None => elements.push(None),
        }
    }
    let is_readable = elements.iter().all(Option::is_some);
    elements.reverse();
    let nodes = elements.iter().map(|element| element.as_ref()?.node.as_deref().and_then(address_of));
    let (address, hops) = client(nodes, peer, trusted);
    let said = elements.into_iter().nth(hops.saturating_sub(1)).flatten();
    let (proto, host) = said.map_or((None, None), |element| (element.proto, element.host));
    Said {
        address,
        is_https: proto.is_some_and(|proto| proto.eq_ignore_ascii_case("https")),
        host: host.and_then(|host| HeaderValue::from_str(&host).ok()),
        is_readable,
    }
}

/// Goes from `peer` through `hops` to the first that is no trusted proxy, or as far as they can be read (PRX-02). Answers
/// where that is, and how many hops tell of it.
fn client(
    hops: impl Iterator<Item = Option<IpAddr>>,
    peer: IpAddr,
    trusted: &TrustedProxies,
) -> (IpAddr, usize) {
    let (mut address, mut read) = (peer.to_canonical(), 0);
    for hop in hops {
        let Some(hop) = hop else { break };
        (address, read) = (hop, read + 1);
        if !trusted.hold(hop) {
            break;
        }
    }
    (address, read)
}

/// The members of a list that several fields hold together (PRX-03), the last first. One that cannot be read is an empty text:
/// it hides what stands left of it, and not what a proxy put to its right.
fn from_the_right<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> + use<'h> {
    let fields: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let members = fields.into_iter().rev().flat_map(|field| field.rsplit(|byte| *byte == b','));
    members.map(|member| std::str::from_utf8(member).unwrap_or_default().trim())
}

/// The member that tells of the client: that at the place of its address or, where the nearest proxy alone tells, the only
/// one.
fn at<'h>(headers: &'h HeaderMap, name: &HeaderName, hops: usize) -> Option<&'h str> {
    let mut members = from_the_right(headers, name);
    let nearest = members.next()?;
    let mut others = members.peekable();
    if hops <= 1 || others.peek().is_none() { Some(nearest) } else { others.nth(hops - 2) }
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare =
        text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|inside| inside.contains(':'));
    let address = match bare {
        Some(inside) => inside.parse().ok(),
        None => text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|both| both.ip())),
    };
    address.map(|address: IpAddr| address.to_canonical())
}

/// One element of `Forwarded`: what one proxy says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Element {
    node: Option<String>,
    proto: Option<String>,
    host: Option<String>,
}

/// The elements of one field, the first first; nothing if it breaks the grammar anywhere: a quotation mark that a client
/// left open must not swallow what a proxy added.
fn elements_of(field: &str) -> Option<Vec<Element>> {
    let mut elements = vec![Element::default()];
    let mut rest = field.trim_start();
    // An empty list has no elements.
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        let (value, after) = value_of(after)?;
        let element = elements.last_mut()?;
        let part = match name.to_ascii_lowercase().as_str() {
            "for" => Some(&mut element.node),
            "proto" => Some(&mut element.proto),
            "host" => Some(&mut element.host),
            _ => None,
        };
        // Each may be said once.
        if let Some(part) = part
            && part.replace(value).is_some()
        {
            return None;
        }
        let after = after.trim_start();
        rest = match after.split_at_checked(1) {
            None => return Some(elements),
            Some((";", next)) => next.trim_start(),
            Some((",", next)) => {
                elements.push(Element::default());
                next.trim_start()
            }
            Some(_) => return None,
        };
        if rest.is_empty() {
            return None;
        }
    }
    None
}

/// A token or a quoted string at the start of `text`, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
        let (token, after) = text.split_at(end);
        return (!token.is_empty()).then(|| (token.to_owned(), after));
    };
    let (mut value, mut characters) = (String::new(), quoted.char_indices());
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, &quoted[at + 1..])),
            (_, '\\') => value.push(characters.next()?.1),
            (_, character) => value.push(character),
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
