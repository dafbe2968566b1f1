//! Why a request fails: Supervisor's fault codes and their texts, as plain data.
#![forbid(unsafe_code)]

/// Supervisor's fault codes (supervisor-behaviour.md §7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FaultCode {
    UnknownMethod = 1,
    IncorrectParameters = 2,
    BadArguments = 3,
    SignatureUnsupported = 4,
    ShutdownState = 6,
    BadName = 10,
    BadSignal = 11,
    NoFile = 20,
    NotExecutable = 21,
    Failed = 30,
    AbnormalTermination = 40,
    SpawnError = 50,
    AlreadyStarted = 60,
    NotRunning = 70,
    AlreadyAdded = 90,
    StillRunning = 91,
    CantReread = 92,
    /// The method is not in twiddler's whitelist.
    Unknown = 230,
}

impl FaultCode {
    /// The name at the start of the fault's text: `UNKNOWN_METHOD` for `UnknownMethod`.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        name
    }
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The number by which programs distinguish faults.
    pub code: FaultCode,
    /// The text after the code's name: usually the name that the client sent. May be empty.
    pub extra: String,
}

impl Fault {
    /// A fault with its extra text.
    #[must_use]
    pub fn new(code: FaultCode, extra: impl Into<String>) -> Self {
        Fault { code, extra: extra.into() }
    }

    /// `NAME` or `NAME: extra`.
    #[must_use]
    pub fn text(&self) -> String {
        // The name or signal of the client is always part of the text, even if it is empty.
        let has_extra = !self.extra.is_empty() || matches!(self.code, FaultCode::BadName | FaultCode::BadSignal);
        if has_extra { format!("{}: {}", self.code.name(), self.extra) } else { self.code.name() }
    }
}
