//! `%(name)s`: Python's `format % mapping`, as far as a mapping of texts and two numbers can go. Census §2.3.
#![forbid(unsafe_code)]

use super::values::repr;
use std::collections::BTreeMap;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name<'a> {
    Text(&'a str),
    Number(i64),
    /// Not known yet: its `%(…)s` stays in the text.
    Later,
}

/// The names that a format may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    /// `here`, `program_name` and the like.
    pub fixed: &'a [(&'static str, Name<'a>)],
    /// The program's own environment: hides `environment`.
    pub own: &'a [(String, String)],
    /// The daemon's environment and what `[supervisord]` adds.
    pub environment: &'a BTreeMap<String, String>,
    /// For a text that will be expanded again: what stands for a percent sign, `own` being [`Name::Later`].
    pub again: Option<&'static str>,
}

impl<'a> Names<'a> {
    fn find(&self, name: &str) -> Option<Name<'a>> {
        if let Some(variable) = name.strip_prefix("ENV_") {
            let own = self.own.iter().find(|(key, _)| key == variable);
            let own = own.map(|(_, value)| if self.again.is_some() { Name::Later } else { Name::Text(value) });
            return own.or_else(|| self.environment.get(variable).map(|value| Name::Text(value)));
        }
        self.fixed.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// Sorted, without the environment: its names would fill the screen and tell what is in it.
    fn list(&self) -> String {
        let mut names: Vec<&str> = self.fixed.iter().map(|(name, _)| *name).collect();
        names.push("ENV_* (of the environment)");
        names.sort_unstable();
        names.join(", ")
    }
}

/// A text with all its names replaced, and a warning if the text says something that it hardly means.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Expanded {
    pub text: String,
    pub warning: Option<String>,
}

/// Replaces every `%(…)` of `format`; `option` is how the message names it.
///
/// Differs from Supervisor: a bare `%s`, which prints the whole dictionary there, stays as it is (with a warning).
pub(super) fn expand(format: &str, option: &str, names: &Names) -> Result<Expanded, String> {
    let mut out = Expanded::default();
    let mut rest = Rest { all: format, at: 0 };
    let mut converted = false;
    loop {
        let literal = rest.until('%');
        out.text.push_str(literal);
        if rest.next().is_none() {
            return Ok(out);
        }
        if rest.tail().starts_with('%') {
            rest.next();
            out.text.push_str(names.again.unwrap_or("%"));
            continue;
        }
        let start = rest.at;
        let first = !std::mem::replace(&mut converted, true);
        match conversion(&mut rest, names, first) {
            Ok(Conversion::Text(text)) => match names.again {
                Some(percent) => out.text.push_str(&text.replace('%', percent)),
                None => out.text.push_str(&text),
            },
            Ok(Conversion::Later) => out.text.extend(["%", format.get(start..rest.at).unwrap_or_default()]),
            Ok(Conversion::Bare) => {
                let spec = format.get(start..rest.at).unwrap_or_default();
                out.text.extend(["%", spec]);
                out.warning = Some(format!("'%{spec}' without a (name) is left as it is; write '%%{spec}'"));
            }
            Err(Failure::Unknown(name)) => {
                return Err(format!(
                    "Format string {} for {} contains names ({}) which cannot be expanded. Available names: {}",
                    repr(format),
                    repr(option),
                    repr(name),
                    names.list()
                ));
            }
            Err(Failure::Bad(why)) => {
                return Err(format!(
                    "Format string {} for {} is badly formatted: {why}; a name is written %(name)s, a percent sign %%",
                    repr(format),
                    repr(option)
                ));
            }
        }
        let spec = format.get(start..rest.at).unwrap_or_default();
        if spec.contains(") ") {
            out.warning = Some(format!(
                "the blank in '%{spec}' is taken for a flag; write '%{}s'",
                spec.trim_end_matches([' ', 's'])
            ));
        }
    }
}

enum Failure<'a> {
    Unknown(&'a str),
    Bad(String),
}

enum Conversion {
    Text(String),
    /// A conversion without a name, of the dictionary itself.
    Bare,
    /// One whose value is not known yet.
    Later,
}

/// A cursor over the format.
struct Rest<'a> {
    all: &'a str,
    at: usize,
}

impl<'a> Rest<'a> {
    fn tail(&self) -> &'a str {
        self.all.get(self.at..).unwrap_or_default()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.tail().chars().next()?;
        self.at = self.at.saturating_add(c.len_utf8());
        Some(c)
    }

    fn take_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        self.tail().chars().next().filter(|&c| wanted(c))?;
        self.next()
    }

    fn until(&mut self, end: char) -> &'a str {
        let tail = self.tail();
        let found = tail.get(..tail.find(end).unwrap_or(tail.len())).unwrap_or_default();
        self.at = self.at.saturating_add(found.len());
        found
    }

    /// A number of at most five digits; `what` names it in the error.
    fn number(&mut self, what: &str) -> Result<Option<usize>, Failure<'a>> {
        let mut number = None;
        while let Some(digit) = self.take_if(|c| c.is_ascii_digit()).and_then(|c| c.to_digit(10)) {
            let next = number.unwrap_or(0_usize).saturating_mul(10).saturating_add(digit as usize);
            if next > 99_999 {
                return Err(Failure::Bad(format!("{what} too big")));
            }
            number = Some(next);
        }
        Ok(number)
    }
}

#[derive(Default)]
struct Flags {
    left: bool,
    plus: bool,
    blank: bool,
    alternate: bool,
    zero: bool,
}

/// What follows a `%`: `(name)`, flags, width, `.precision`, one of `hlL`, the letter.
fn conversion<'a>(rest: &mut Rest<'a>, names: &Names<'a>, first: bool) -> Result<Conversion, Failure<'a>> {
    let bad = |why: &str| Failure::Bad(why.into());
    let mut value = None;
    if rest.take_if(|c| c == '(').is_some() {
        let start = rest.at;
        let mut depth = 1_usize;
        while depth > 0 {
            match rest.next().ok_or_else(|| bad("incomplete format key"))? {
                '(' => depth = depth.saturating_add(1),
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        let name = rest.all.get(start..rest.at.saturating_sub(1)).unwrap_or_default();
        value = Some(names.find(name).ok_or(Failure::Unknown(name))?);
    }
    let mut flags = Flags::default();
    while let Some(flag) = rest.take_if(|c| "-+ #0".contains(c)) {
        match flag {
            '-' => flags.left = true,
            '+' => flags.plus = true,
            ' ' => flags.blank = true,
            '#' => flags.alternate = true,
            _ => flags.zero = true,
        }
    }
    let too_few = || bad("not enough arguments for format string");
    let star = match value {
        Some(Name::Number(_)) => too_few(),
        None if !first => too_few(),
        _ => bad("* wants int"),
    };
    if rest.take_if(|c| c == '*').is_some() {
        return Err(star);
    }
    let width = rest.number("width")?.unwrap_or(0);
    let precision = match rest.take_if(|c| c == '.') {
        Some(_) if rest.take_if(|c| c == '*').is_some() => return Err(star),
        Some(_) => Some(rest.number("precision")?.unwrap_or(0)),
        None => None,
    };
    rest.take_if(|c| "hlL".contains(c));
    let index = rest.all.get(..rest.at).map_or(0, |s| s.chars().count());
    let letter = rest.next().ok_or_else(|| bad("incomplete format"))?;
    if value.is_none() && !first {
        return Err(too_few());
    }
    if !"diuoxXeEfFgGcrsa".contains(letter) {
        let shown = if (' '..='~').contains(&letter) { letter } else { '?' };
        let why = format!("unsupported format character '{shown}' (0x{:x}) at index {index}", u32::from(letter));
        return Err(Failure::Bad(why));
    }
    let Some(value) = value else {
        return match letter {
            's' | 'r' | 'a' => Ok(Conversion::Bare),
            _ => Err(Failure::Bad(mismatch(letter, "dict"))),
        };
    };
    let (sign, body, numeric) = match (value, letter) {
        (Name::Later, _) => return Ok(Conversion::Later),
        (Name::Text(text), 's') => (String::new(), text.to_owned(), false),
        (Name::Text(text), 'r' | 'a') => (String::new(), repr(text), false),
        (Name::Text(text), 'c') if text.chars().count() == 1 => (String::new(), text.to_owned(), false),
        (Name::Text(_), _) => return Err(Failure::Bad(mismatch(letter, "str"))),
        (Name::Number(n), 's' | 'r' | 'a') => (String::new(), n.to_string(), false),
        (Name::Number(n), 'c') => {
            let c = u32::try_from(n).ok().and_then(char::from_u32);
            (String::new(), c.ok_or_else(|| bad("%c arg not in range(0x110000)"))?.to_string(), false)
        }
        (Name::Number(n), _) => {
            let sign = if n < 0 {
                "-"
            } else if flags.plus {
                "+"
            } else if flags.blank {
                " "
            } else {
                ""
            };
            let (prefix, digits) = number(n.unsigned_abs(), letter, precision, flags.alternate);
            (format!("{sign}{prefix}"), digits, true)
        }
    };
    let body = match precision {
        Some(n) if !numeric && letter != 'c' => body.chars().take(n).collect(),
        _ => body,
    };
    let fill = width.saturating_sub(sign.chars().count().saturating_add(body.chars().count()));
    Ok(Conversion::Text(match (flags.left, flags.zero && numeric) {
        (true, _) => format!("{sign}{body}{}", " ".repeat(fill)),
        (_, true) => format!("{sign}{}{body}", "0".repeat(fill)),
        _ => format!("{}{sign}{body}", " ".repeat(fill)),
    }))
}

fn mismatch(letter: char, kind: &str) -> String {
    match letter {
        'o' | 'x' | 'X' => format!("%{letter} format: an integer is required, not {kind}"),
        'd' | 'i' | 'u' => format!("%{letter} format: a real number is required, not {kind}"),
        'c' => "%c requires int or char".into(),
        _ => format!("must be real number, not {kind}"),
    }
}

/// Prefix and digits of a number without its sign.
fn number(n: u64, letter: char, precision: Option<usize>, alternate: bool) -> (&'static str, String) {
    #[expect(clippy::cast_precision_loss, reason = "Python makes a float of it too")]
    let float = n as f64;
    let places = precision.unwrap_or(6);
    let (prefix, digits) = match letter {
        'o' => ("0o", format!("{n:o}")),
        'x' => ("0x", format!("{n:x}")),
        'X' => ("0X", format!("{n:X}")),
        'd' | 'i' | 'u' => ("", n.to_string()),
        _ => return ("", float_digits(float, letter, places, alternate)),
    };
    let zeros = precision.unwrap_or(0).saturating_sub(digits.len());
    (if alternate { prefix } else { "" }, "0".repeat(zeros) + &digits)
}

/// `%e`, `%f` and `%g` of C for a whole number that is not negative.
fn float_digits(float: f64, letter: char, places: usize, alternate: bool) -> String {
    let scientific = |places: usize| {
        let text = format!("{float:.places$e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        (mantissa.to_owned(), exponent.parse::<usize>().unwrap_or(0))
    };
    let text = match letter.to_ascii_lowercase() {
        'f' => format!("{float:.places$}"),
        'e' => {
            let (mantissa, exponent) = scientific(places);
            format!("{mantissa}e+{exponent:02}")
        }
        _ => {
            let significant = places.max(1);
            let (mantissa, exponent) = scientific(significant.saturating_sub(1));
            let trim = |text: &str| match text.contains('.') && !alternate {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text.to_owned(),
            };
            match exponent < significant {
                true => trim(&format!("{float:.*}", significant.saturating_sub(1).saturating_sub(exponent))),
                false => format!("{}e+{exponent:02}", trim(&mantissa)),
            }
        }
    };
    let text = match (alternate && !text.contains('.'), text.split_once('e')) {
        (false, _) => text,
        (true, Some((mantissa, exponent))) => format!("{mantissa}.e{exponent}"),
        (true, None) => text + ".",
    };
    if letter.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text }
}
