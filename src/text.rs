//! Converts bytes to text and back without loss.
//!
//! On Unix, paths, arguments and variables are bytes, which are usually UTF-8 but need not be. The configuration is text. So
//! [`decode`] replaces every byte that is not part of valid UTF-8 by a stand-in: the private-use character `U+10FF00` plus the
//! byte. [`encode`] turns each stand-in back into its byte. A real character of that area is replaced byte by byte, so it comes back
//! unchanged too. (Python does the same with surrogates, PEP 383. So lengths such as the precision of `%(ENV_X).3s` are the same as
//! in Supervisor.)
//!
//! Decode bytes where they enter the program, and encode text where it leaves. For messages and answers use [`shown`].
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// The stand-in of a byte is this number plus the byte.
const BASE: u32 = 0x0010_ff00;

/// The first UTF-8 byte of every stand-in. A text without this byte has no stand-ins.
const LEAD: u8 = 0xf4;

fn stand_in(byte: u8) -> char {
    // BASE + 255 is the last Unicode character, so the fallback is never used.
    BASE.checked_add(byte.into()).and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that a character stands for, if it is a stand-in.
#[must_use]
pub fn stands_for(c: char) -> Option<u8> {
    u8::try_from(u32::from(c).checked_sub(BASE)?).ok().filter(|byte| !byte.is_ascii())
}

/// The text for any bytes. [`encode`] turns it back into the same bytes.
#[must_use]
pub fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match stands_for(c) {
                None => text.push(c),
                Some(_) => text.extend(c.encode_utf8(&mut [0; 4]).bytes().map(stand_in)),
            }
        }
        text.extend(chunk.invalid().iter().copied().map(stand_in));
    }
    text
}

/// Like [`decode`], for an operating system's string.
#[must_use]
pub fn of_os(name: impl AsRef<OsStr>) -> String {
    decode(name.as_ref().as_bytes())
}

/// The bytes that a text stands for.
#[must_use]
pub fn encode(text: &str) -> Cow<'_, [u8]> {
    if is_plain(text) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match stands_for(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

/// Like [`encode`], to an operating system's string.
#[must_use]
pub fn to_os(text: &str) -> OsString {
    OsString::from_vec(encode(text).into_owned())
}

/// Like [`encode`], to a path.
#[must_use]
pub fn to_path(text: &str) -> PathBuf {
    to_os(text).into()
}

/// Whether the text has no stand-ins: its bytes are valid UTF-8.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    !text.as_bytes().contains(&LEAD) || text.chars().all(|c| stands_for(c).is_none())
}

/// The text for users and other programs, with U+FFFD for bytes that are not UTF-8.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    String::from_utf8_lossy(&encode(text)).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_bytes_that_are_not_utf8_have_stand_ins() {
        for (bytes, text, seen) in [
            (&b"plain"[..], "plain", "plain"),
            ("grün \u{10fe00}".as_bytes(), "grün \u{10fe00}", "grün \u{10fe00}"),
            (b"caf\xe9.d", "caf\u{10ffe9}.d", "caf\u{fffd}.d"),
            // The first bytes of an incomplete character.
            (b"\xe2\x82", "\u{10ffe2}\u{10ff82}", "\u{fffd}"),
            // A real U+10FFE9, and the last Unicode character.
            ("\u{10ffe9}".as_bytes(), "\u{10fff4}\u{10ff8f}\u{10ffbf}\u{10ffa9}", "\u{10ffe9}"),
            ("\u{10ffff}".as_bytes(), "\u{10fff4}\u{10ff8f}\u{10ffbf}\u{10ffbf}", "\u{10ffff}"),
            // Not a stand-in: no ASCII byte has one.
            ("\u{10ff41}\u{10ff7f}".as_bytes(), "\u{10ff41}\u{10ff7f}", "\u{10ff41}\u{10ff7f}"),
            // An encoded surrogate is not UTF-8.
            (b"\xed\xb3\xa9", "\u{10ffed}\u{10ffb3}\u{10ffa9}", "\u{fffd}\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(decode(bytes), text);
            assert_eq!(&*encode(text), bytes);
            assert_eq!(shown(text), seen);
            assert_eq!(is_plain(text), text.as_bytes() == bytes);
            assert_eq!((of_os(OsStr::from_bytes(bytes)), to_os(text)), (text.into(), OsStr::from_bytes(bytes).into()));
        }
    }

    #[test]
    fn each_byte_has_its_own_stand_in() {
        for byte in 0x80..=0xff {
            assert_eq!(stands_for(stand_in(byte)), Some(byte));
            assert_eq!(encode(&stand_in(byte).to_string()).as_ref(), [byte]);
        }
    }

    proptest! {
        #[test]
        fn all_bytes_come_back(bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            // Bytes that occur in the UTF-8 form of stand-ins.
            proptest::collection::vec(proptest::sample::select(&b"\xf4\x8f\xbe\xbf\x80\xa9a\xe2"[..]), 0..12),
        ]) {
            let text = decode(&bytes);
            prop_assert_eq!(&*encode(&text), &bytes[..]);
            prop_assert_eq!(is_plain(&text), text.as_bytes() == &bytes[..]);
        }

        #[test]
        fn text_without_stand_ins_is_not_changed(text in "\\PC*") {
            let has_none = text.chars().all(|c| stands_for(c).is_none());
            prop_assume!(has_none);
            prop_assert_eq!(&decode(text.as_bytes()), &text);
            prop_assert_eq!(&*encode(&text), text.as_bytes());
        }

        #[test]
        fn a_text_with_stand_ins_becomes_its_canonical_form(text in proptest::collection::vec(
            prop_oneof![any::<char>(), (0x80_u8..).prop_map(stand_in)], 0..20)) {
            let text: String = text.into_iter().collect();
            let bytes = encode(&text).into_owned();
            let canonical = decode(&bytes);
            prop_assert_eq!(&*encode(&canonical), &bytes[..]);
            prop_assert_eq!(shown(&canonical), String::from_utf8_lossy(&bytes));
        }
    }
}
