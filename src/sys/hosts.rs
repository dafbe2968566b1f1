//! Resolves host names without a name server: numeric addresses, and names in /etc/hosts (hosts(5)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::fds::read_regular;

/// The most bytes of /etc/hosts that are read.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// The addresses of `host`: a numeric address (inet_aton(3) or IPv6), else the addresses of the name in /etc/hosts. `localhost`
/// always has an address. Empty: the name is unknown.
#[must_use]
pub fn addresses(host: &str) -> Vec<IpAddr> {
    match number(host) {
        Some(address) => vec![address],
        None => {
            let text = read_regular(Path::new("/etc/hosts"), FILE_MAX_BYTES).unwrap_or_default();
            in_hosts(&String::from_utf8_lossy(&text), host)
        }
    }
}

/// The addresses of a name in the text of a hosts(5) file, in file order. Upper and lower case are the same.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut found: Vec<IpAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
        if words.any(|name| name.eq_ignore_ascii_case(host)) && !found.contains(&address) {
            found.push(address);
        }
    }
    if host.eq_ignore_ascii_case("localhost") && !found.iter().any(IpAddr::is_ipv4) {
        found.push(Ipv4Addr::LOCALHOST.into());
    }
    found
}

/// Parses a numeric address: `127.0.0.1`, `127.1`, `0x7f.0.0.1` or `2130706433`, as inet_aton(3) does, or an IPv6 address.
#[must_use]
pub fn number(host: &str) -> Option<IpAddr> {
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return Some(address.into());
    }
    let parts: Vec<u32> = host.split('.').map(part).collect::<Option<_>>()?;
    let (last, bytes) = parts.split_last()?;
    if bytes.len() > 3 {
        return None;
    }
    let mut address = 0_u32;
    for (n, byte) in (0_u32..).zip(bytes) {
        address |= u32::from(u8::try_from(*byte).ok()?).checked_shl(24_u32.saturating_sub(n.saturating_mul(8)))?;
    }
    // The last part fills the remaining bytes.
    let bits = 32_u32.saturating_sub(u32::try_from(bytes.len()).ok()?.saturating_mul(8));
    let fits = bits == 32 || last.checked_shr(bits) == Some(0);
    fits.then(|| Ipv4Addr::from(address | last).into())
}

/// Parses a part of an IPv4 address: decimal, octal after `0`, hexadecimal after `0x`.
fn part(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix('0') {
        Some(rest) if rest.starts_with(['x', 'X']) => (rest.get(1..)?, 16),
        Some("") | None => (text, 10),
        Some(octal) => (octal, 8),
    };
    let is_digits = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if is_digits { u32::from_str_radix(digits, radix).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(addresses: &[IpAddr]) -> String {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_are_found_in_any_case_with_all_their_addresses() {
        let text = "# a comment\n10.0.0.1 Web web.example # also web2\n::1 localhost ip6\n10.0.0.2\tWEB\nbad web\n10.0.0.1 web\n";
        for (host, wanted) in [
            ("web", "10.0.0.1 10.0.0.2"),
            ("WeB", "10.0.0.1 10.0.0.2"),
            ("Web.Example.", "10.0.0.1"),
            ("web2", ""),
            ("IP6", "::1"),
            ("LOCALHOST", "::1 127.0.0.1"),
            ("localhost", "::1 127.0.0.1"),
            ("other", ""),
            ("", ""),
        ] {
            assert_eq!(shown(&in_hosts(text, host)), wanted, "{host:?}");
        }
        assert_eq!(shown(&in_hosts("", "LocalHost")), "127.0.0.1");
        assert_eq!(shown(&in_hosts("127.0.0.9 localhost", "localhost")), "127.0.0.9");
    }

    #[test]
    fn numbers_are_parsed_as_by_inet_aton() {
        for (host, wanted) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("0", "0.0.0.0"),
            ("2130706433", "127.0.0.1"),
            ("0x7f.1", "127.0.0.1"),
            ("0177.0.0.01", "127.0.0.1"),
            ("10.258", "10.0.1.2"),
            ("4294967295", "255.255.255.255"),
            ("::1", "::1"),
            ("::", "::"),
        ] {
            assert_eq!(number(host).map(|address| address.to_string()).as_deref(), Some(wanted), "{host}");
        }
        for bad in ["", ".", "1.", "256.1", "1.2.3.256", "1.2.3.4.5", "4294967296", "0x", "08", "+1", "a", "1.2.3.-4"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
