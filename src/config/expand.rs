//! Expands `%(name)s` in values, like Python's `format % mapping` for a mapping to texts and whole numbers. Source:
//! supervisor-behaviour.md §2.3.
#![forbid(unsafe_code)]

use super::values::{ascii, repr};
use crate::text;
use std::collections::BTreeMap;

/// The value of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameValue<'a> {
    Text(&'a str),
    Number(i64),
    /// Not known yet: the `%(…)s` stays in the text.
    Later,
}

/// The names that a value may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownNames<'a> {
    /// `here`, `program_name` and the like.
    pub fixed: &'a [(&'static str, NameValue<'a>)],
    /// The variables of the program's own `environment`. They hide those of the field `environment`.
    pub own: &'a [(String, String)],
    /// The environment of rsup, with the variables of `[supervisord]`.
    pub environment: &'a BTreeMap<String, String>,
    /// For a text that will be expanded again: how to write a percent sign. The variables in `own` then are [`NameValue::Later`].
    pub again: Option<&'static str>,
}

impl<'a> KnownNames<'a> {
    /// In a dump, a value that is not UTF-8 cannot be written, so its name stays.
    fn later_unless_plain(&self, value: &'a str) -> NameValue<'a> {
        if self.again.is_some() && !text::is_plain(value) { NameValue::Later } else { NameValue::Text(value) }
    }

    fn find(&self, name: &str) -> Result<NameValue<'a>, String> {
        let found = match name.strip_prefix("ENV_") {
            Some(variable) => match self.own.iter().find(|(key, _)| key == variable) {
                Some(_) if self.again.is_some() => Some(NameValue::Later),
                Some((_, value)) => Some(NameValue::Text(value)),
                None => self.environment.get(variable).map(|value| self.later_unless_plain(value)),
            },
            None => self.fixed.iter().find(|(key, _)| *key == name).map(|(_, value)| match *value {
                NameValue::Text(value) => self.later_unless_plain(value),
                other => other,
            }),
        };
        found.ok_or_else(|| {
            // The names of the environment are left out: there are many, and they may be secret.
            let mut known: Vec<&str> = self.fixed.iter().map(|(name, _)| *name).collect();
            known.push("ENV_* (of the environment)");
            known.sort_unstable();
            let known = known.join(", ");
            format!("contains names ({}) which cannot be expanded. Available names: {known}", repr(name))
        })
    }
}

/// An expanded text, with a warning if it contains a probable mistake.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Expanded {
    pub text: String,
    pub warning: Option<String>,
}

impl Expanded {
    fn warn(&mut self, message: &str) {
        let all = self.warning.get_or_insert_default();
        all.extend([if all.is_empty() { "" } else { "; " }, message]);
    }
}

/// Expands every conversion in `format`; messages name the text `option`.
// Differs from Supervisor: a `%s` without a name stays in the text, with a warning. Supervisor prints its whole dictionary.
pub(super) fn expand(format: &str, option: &str, names: &KnownNames) -> Result<Expanded, String> {
    let mut out = Expanded::default();
    let mut rest = format;
    let mut is_first = true;
    while let Some((literal, spec)) = rest.split_once('%') {
        out.text.push_str(literal);
        rest = spec;
        if take(&mut rest, 1, |c| c == '%') == "%" {
            out.text.push_str(names.again.unwrap_or("%"));
            continue;
        }
        let conversion = Conversion::parse(format, &mut rest, names, std::mem::take(&mut is_first));
        let converted = conversion.and_then(|conversion| conversion.text());
        let converted =
            converted.map_err(|why| format!("Format string {} for {} {why}", repr(format), repr(option)))?;
        let spec = spec.strip_suffix(rest).unwrap_or_default();
        match (converted, names.again) {
            (Some(text), Some(percent)) => out.text.push_str(&text.replace('%', percent)),
            (Some(text), None) => out.text.push_str(&text),
            (None, _) => out.text.extend(["%", spec]),
        }
        if !spec.starts_with('(') {
            out.warn(&format!("'%{spec}' without a (name) is left as it is; write '%%{spec}'"));
        } else if let Some((name, _)) = spec.split_once(") ") {
            out.warn(&format!("the blank in '%{spec}' is taken for a flag; write '%{name})s '"));
        }
    }
    out.text.push_str(rest);
    Ok(out)
}

/// Takes characters from the start of `rest` while `wanted` accepts them, at most `limit`.
fn take<'a>(rest: &mut &'a str, limit: usize, wanted: impl Fn(char) -> bool) -> &'a str {
    let end = rest.char_indices().enumerate().find(|(i, (_, c))| *i >= limit || !wanted(*c));
    let (taken, tail) = rest.split_at(end.map_or(rest.len(), |(_, (at, _))| at));
    *rest = tail;
    taken
}

fn bad(why: &str) -> String {
    format!("is badly formatted: {why}; a name is written %(name)s, a percent sign %%")
}

/// Parses a width or precision of at most five digits.
fn number(rest: &mut &str, what: &str) -> Result<usize, String> {
    match take(rest, usize::MAX, |c| c.is_ascii_digit()).trim_start_matches('0') {
        "" => Ok(0),
        digits => digits.parse().ok().filter(|n| *n < 100_000).ok_or_else(|| bad(&format!("{what} too big"))),
    }
}

/// A conversion such as `%(name)-5.3s`.
struct Conversion<'a> {
    /// `None`: it has no name.
    value: Option<NameValue<'a>>,
    flags: &'a str,
    width: usize,
    precision: Option<usize>,
    letter: char,
}

impl<'a> Conversion<'a> {
    /// Parses the conversion at the start of `rest`, after its `%`: `(name)`, flags, width, `.precision`, one of `hlL`, a letter.
    /// Python accepts a conversion without a name only where it is the first of `format`.
    fn parse(format: &str, rest: &mut &'a str, names: &KnownNames<'a>, is_first: bool) -> Result<Self, String> {
        let mut value = None;
        if let Some(after) = rest.strip_prefix('(') {
            let mut depth = 0_i32;
            let closing = after.char_indices().find(|(_, c)| {
                depth = depth.saturating_add(i32::from(*c == '(')).saturating_sub(i32::from(*c == ')'));
                depth < 0
            });
            let (name, after) = after.split_at(closing.ok_or_else(|| bad("incomplete format key"))?.0);
            value = Some(names.find(name)?);
            *rest = after.strip_prefix(')').unwrap_or(after);
        }
        let flags = take(rest, usize::MAX, |c| "-+ #0".contains(c));
        let too_few = || bad("not enough arguments for format string");
        let star = match value {
            Some(NameValue::Text(_)) => bad("* wants int"),
            None if is_first => bad("* wants int"),
            _ => too_few(),
        };
        if rest.starts_with('*') {
            return Err(star);
        }
        let width = number(rest, "width")?;
        let precision = match take(rest, 1, |c| c == '.') {
            "" => None,
            _ if rest.starts_with('*') => return Err(star),
            _ => Some(number(rest, "precision")?),
        };
        take(rest, 1, |c| "hlL".contains(c));
        let index = format.chars().count().saturating_sub(rest.chars().count());
        let letter = take(rest, 1, |_| true).chars().next().ok_or_else(|| bad("incomplete format"))?;
        if value.is_none() && !is_first {
            return Err(too_few());
        }
        if !"diuoxXeEfFgGcrsa".contains(letter) {
            let shown = if (' '..='~').contains(&letter) { letter } else { '?' };
            let code = u32::from(letter);
            return Err(bad(&format!("unsupported format character '{shown}' (0x{code:x}) at index {index}")));
        }
        Ok(Self { value, flags, width, precision, letter })
    }

    /// The formatted value; `None`: the conversion stays in the text, since it has no name or its value is not known yet.
    fn text(&self) -> Result<Option<String>, String> {
        let cut = |text: String| text.chars().take(self.precision.unwrap_or(usize::MAX)).collect();
        let mut sign = String::new();
        let body: String = match (self.value, self.letter) {
            (Some(NameValue::Later), _) | (None, 's' | 'r' | 'a') => return Ok(None),
            (Some(NameValue::Text(text)), 's') => cut(text.into()),
            (Some(NameValue::Text(text)), 'r') => cut(repr(text)),
            (Some(NameValue::Text(text)), 'a') => cut(ascii(text)),
            (Some(NameValue::Text(text)), 'c') if text.chars().count() == 1 => text.into(),
            (Some(NameValue::Number(n)), 's' | 'r' | 'a') => cut(n.to_string()),
            (Some(NameValue::Number(n)), 'c') => {
                let c = u32::try_from(n).ok().and_then(char::from_u32);
                let c = c.ok_or_else(|| bad("%c arg not in range(0x110000)"))?;
                // Decoded, so that the character cannot be mistaken for the stand-in of a byte.
                text::decode(c.encode_utf8(&mut [0; 4]).as_bytes())
            }
            (Some(NameValue::Number(n)), letter) => {
                sign.push_str(match n {
                    ..0 => "-",
                    _ if self.flags.contains('+') => "+",
                    _ if self.flags.contains(' ') => " ",
                    _ => "",
                });
                let (prefix, digits) = digits(n.unsigned_abs(), letter, self.precision, self.flags.contains('#'));
                sign.push_str(prefix);
                digits
            }
            (Some(NameValue::Text(_)), letter) => return Err(wrong_type(letter, "str")),
            (None, letter) => return Err(wrong_type(letter, "dict")),
        };
        Ok(Some(self.padded(&sign, &body)))
    }

    /// Fills the formatted value up to the width.
    fn padded(&self, sign: &str, body: &str) -> String {
        let fill = self.width.saturating_sub(sign.chars().count().saturating_add(body.chars().count()));
        let is_numeric = matches!(self.value, Some(NameValue::Number(_))) && !"srac".contains(self.letter);
        if self.flags.contains('-') {
            format!("{sign}{body}{}", " ".repeat(fill))
        } else if self.flags.contains('0') && is_numeric {
            format!("{sign}{}{body}", "0".repeat(fill))
        } else {
            format!("{}{sign}{body}", " ".repeat(fill))
        }
    }
}

/// Python's message for a letter that cannot format a value of this type.
fn wrong_type(letter: char, kind: &str) -> String {
    bad(&match letter {
        'o' | 'x' | 'X' => format!("%{letter} format: an integer is required, not {kind}"),
        'd' | 'i' | 'u' => format!("%{letter} format: a real number is required, not {kind}"),
        'c' => "%c requires int or char".into(),
        _ => format!("must be real number, not {kind}"),
    })
}

/// The prefix and the digits of a number without its sign, like C's `printf`.
fn digits(n: u64, letter: char, precision: Option<usize>, alternate: bool) -> (&'static str, String) {
    #[expect(clippy::cast_precision_loss, reason = "Python makes a float of it too")]
    let float = n as f64;
    let general = letter.eq_ignore_ascii_case(&'g');
    let places = precision.unwrap_or(6).saturating_sub(usize::from(general && precision != Some(0)));
    // 64 places hold all digits that are not 0. Rust's formatting panics for more than 65,535 places.
    let shown = places.min(64);
    let more = "0".repeat(places.saturating_sub(shown));
    let (prefix, digits) = match letter {
        'o' => ("0o", format!("{n:o}")),
        'x' => ("0x", format!("{n:x}")),
        'X' => ("0X", format!("{n:X}")),
        'd' | 'i' | 'u' => ("", n.to_string()),
        'f' | 'F' => return ("", pointed(&format!("{float:.shown$}{more}"), alternate)),
        _ => {
            // `%g` formats small numbers like `%f` and others like `%e`, and removes trailing zeros.
            let text = format!("{float:.shown$e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let power: usize = exponent.parse().unwrap_or(0);
            let fixed = format!("{float:.*}", shown.saturating_sub(power));
            let (number, exponent) = match general && power <= places {
                true => (&*fixed, String::new()),
                false => (mantissa, format!("e+{power:02}")),
            };
            let number = format!("{number}{more}");
            let zeros = general && !alternate && number.contains('.');
            let number = if zeros { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
            let text = pointed(number, alternate) + &exponent;
            return ("", if letter.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text });
        }
    };
    let zeros = precision.unwrap_or(0).saturating_sub(digits.len());
    (if alternate { prefix } else { "" }, "0".repeat(zeros) + &digits)
}

/// Adds a decimal point to a number that has none, if `always` is set.
fn pointed(number: &str, always: bool) -> String {
    if always && !number.contains('.') { format!("{number}.") } else { number.to_owned() }
}
