//! Whose request it is, for the log: what trusted proxies tell of it, and nothing that anyone else says.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether `peer` is one of the trusted proxies.
pub(super) fn trusted(peer: IpAddr, proxies: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    proxies.iter().any(|network| network.contains(&peer))
}

/// The client of a request: the last one in `X-Forwarded-For`, else in `Forwarded`, that is no trusted proxy itself. Each proxy adds
/// whom it heard at the end, so what stands further left may be anyone's invention.
///
/// For the log only: limits count connections and refusals by `peer`, which nobody can choose.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !trusted(client, proxies) {
        return client;
    }
    let name = if headers.contains_key(X_FORWARDED_FOR) { X_FORWARDED_FOR } else { FORWARDED };
    let lines: Vec<&str> = headers.get_all(&name).filter_map(|line| line.to_str().ok()).collect();
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let hop = if name == FORWARDED { for_of(hop) } else { Some(hop) };
        let Some(heard) = hop.and_then(read) else { break };
        client = heard;
        if !trusted(client, proxies) {
            break;
        }
    }
    client
}

/// What stands in `for=` of one element of `Forwarded`.
fn for_of(element: &str) -> Option<&str> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for")).map(|(_, value)| value)
}

/// An address, perhaps quoted, in brackets or with a port.
fn read(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim().trim_matches('"');
    let alone = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let read = alone.parse().or_else(|_| hop.parse::<SocketAddr>().map(|at| at.ip()));
    read.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    /// The client of a request that came from 10.0.0.1 with these headers, where 10.0.0.0/8 is trusted.
    fn client(headers: &[(HeaderName, &'static str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.clone(), HeaderValue::from_static(value));
        }
        address("::ffff:10.0.0.1".parse().unwrap(), &map, &["10.0.0.0/8".parse().unwrap()]).to_string()
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_is_the_client() {
        for (told, expected) in [
            ("203.0.113.9", "203.0.113.9"),
            ("1.2.3.4, 203.0.113.9, 10.9.9.9", "203.0.113.9"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("2001:db8::7", "2001:db8::7"),
            ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
            ("1.2.3.4, somewhere, 10.9.9.9", "10.9.9.9"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(client(&[(X_FORWARDED_FOR, told)]), expected, "{told}");
        }
        assert_eq!(client(&[(X_FORWARDED_FOR, "1.2.3.4"), (X_FORWARDED_FOR, "203.0.113.9")]), "203.0.113.9");
    }

    #[test]
    fn forwarded_counts_where_the_other_header_is_not_there() {
        let told = "for=1.2.3.4, proto=https;For=\"[2001:db8::7]:80\"";
        assert_eq!(client(&[(FORWARDED, told)]), "2001:db8::7");
        assert_eq!(client(&[(FORWARDED, told), (X_FORWARDED_FOR, "203.0.113.9")]), "203.0.113.9");
    }

    #[test]
    fn nobody_else_is_believed() {
        let mut map = HeaderMap::new();
        map.insert(X_FORWARDED_FOR, HeaderValue::from_static("203.0.113.9"));
        for proxies in [vec![], vec!["10.0.0.0/8".parse().unwrap()]] {
            assert_eq!(address("192.0.2.1".parse().unwrap(), &map, &proxies).to_string(), "192.0.2.1");
        }
    }
}
