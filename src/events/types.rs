//! The tree of event types: one row for each, with name, payload and meaning. A subscription to a type includes all types below it.

use std::borrow::Cow;
use std::fmt::Write;

/// One type of event.
#[derive(Debug)]
pub(super) struct EventType {
    /// The name in `events=` and in the header. `A_B` is below `A`, and all are below `EVENT`.
    pub(super) name: &'static str,
    /// The keys of the payload's first line, `key:value …`. `None`: the type has no events of its own, only types below it.
    fields: Option<&'static [&'static str]>,
    /// A newline and data follow the first line.
    has_data: bool,
}

const fn row(name: &'static str, fields: &'static [&'static str]) -> EventType {
    EventType { name, fields: Some(fields), has_data: false }
}

const fn above(name: &'static str) -> EventType {
    EventType { name, fields: None, has_data: false }
}

const fn with_data(row: EventType) -> EventType {
    EventType { has_data: true, ..row }
}

const TRIES: &[&str] = &["processname", "groupname", "from_state", "tries"];
const PID: &[&str] = &["processname", "groupname", "from_state", "pid"];
const ENDED: &[&str] = &["processname", "groupname", "from_state", "expected", "pid"];
const PLAIN: &[&str] = &["processname", "groupname", "from_state"];
const LOG: &[&str] = &["processname", "groupname", "pid", "channel"];
const COMMUNICATION: &[&str] = &["processname", "groupname", "pid"];

/// Every type.
#[rustfmt::skip]
const EVENT_TYPES: [EventType; 27] = [
    above("EVENT"), // anything
    above("PROCESS_STATE"), // a process changed its state
    row("PROCESS_STATE_STOPPED", PID), // it was stopped by request
    row("PROCESS_STATE_EXITED", ENDED), // it ended by itself after it had been RUNNING
    row("PROCESS_STATE_STARTING", TRIES), // it is about to be started
    row("PROCESS_STATE_STOPPING", PID), // it was asked to stop
    row("PROCESS_STATE_BACKOFF", TRIES), // it ended too quickly or could not be started
    row("PROCESS_STATE_FATAL", PLAIN), // it failed too often
    row("PROCESS_STATE_RUNNING", PID), // it has stayed up for startsecs
    row("PROCESS_STATE_UNKNOWN", PLAIN), // it could not be signalled
    above("PROCESS_COMMUNICATION"), // a process wrote text between the capture tokens
    with_data(row("PROCESS_COMMUNICATION_STDOUT", COMMUNICATION)), // on its stdout
    with_data(row("PROCESS_COMMUNICATION_STDERR", COMMUNICATION)), // on its stderr
    above("PROCESS_LOG"), // a process with …_events_enabled wrote something
    with_data(row("PROCESS_LOG_STDOUT", LOG)), // to its stdout
    with_data(row("PROCESS_LOG_STDERR", LOG)), // to its stderr
    with_data(row("REMOTE_COMMUNICATION", &["type"])), // a client called sendRemoteCommEvent
    above("SUPERVISOR_STATE_CHANGE"), // the supervisor changed its state
    row("SUPERVISOR_STATE_CHANGE_RUNNING", &[]), // it runs
    row("SUPERVISOR_STATE_CHANGE_STOPPING", &[]), // it begins to shut down or to restart
    above("TICK"), // time has passed
    row("TICK_5", &["when"]), // 5 seconds
    row("TICK_60", &["when"]), // a minute
    row("TICK_3600", &["when"]), // an hour
    above("PROCESS_GROUP"), // a group was added or removed
    with_data(row("PROCESS_GROUP_ADDED", &["groupname"])), // it is in use now
    with_data(row("PROCESS_GROUP_REMOVED", &["groupname"])), // it is not in use any more
];

/// The names that `events=` accepts.
#[must_use]
pub fn names() -> Vec<&'static str> {
    EVENT_TYPES.iter().map(|row| row.name).collect()
}

impl EventType {
    /// The type of this name.
    #[must_use]
    pub(super) fn named(name: &str) -> Option<&'static EventType> {
        EVENT_TYPES.iter().find(|row| row.name == name)
    }

    /// Whether a subscription to `name` includes it.
    #[must_use]
    pub(super) fn is_below(&self, name: &str) -> bool {
        let rest = self.name.strip_prefix(name);
        name == "EVENT" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    }

    /// The payload, from the value of each field and the data.
    pub(super) fn payload(&self, value: &dyn Fn(&str) -> String, data: &[u8]) -> String {
        let fields = self.fields.unwrap_or_default().iter();
        let mut text = fields.map(|field| format!("{field}:{}", value(field))).collect::<Vec<_>>().join(" ");
        if self.has_data {
            text.push('\n');
            text.push_str(&text_of(data));
        }
        text
    }
}

/// Bytes as text. Bytes that are not UTF-8 are written as Python prints them.
#[must_use]
pub fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => format!("Undecodable: {}", python_bytes(bytes)).into(),
    }
}

/// Bytes as Python's `repr` prints them: `b'\xff\n'`.
#[must_use]
pub fn python_bytes(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { b'"' } else { b'\'' };
    let mut shown = format!("b{}", char::from(quote));
    for &byte in bytes {
        // Writing to a string cannot fail.
        let _ = match byte {
            b'\t' => write!(shown, "\\t"),
            b'\n' => write!(shown, "\\n"),
            b'\r' => write!(shown, "\\r"),
            b'\\' => write!(shown, "\\\\"),
            _ if byte == quote => write!(shown, "\\{}", char::from(byte)),
            b' '..=b'~' => write!(shown, "{}", char::from(byte)),
            _ => write!(shown, "\\x{byte:02x}"),
        };
    }
    shown.push(char::from(quote));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_includes_all_types_below_and_no_others() {
        let below = |name: &str| EVENT_TYPES.iter().filter(|row| row.is_below(name)).count();
        assert_eq!(below("EVENT"), 27);
        assert_eq!(["PROCESS_STATE", "PROCESS_LOG", "PROCESS_GROUP", "TICK", "TICK_5"].map(below), [9, 3, 3, 4, 1]);
        assert!(!EventType::named("TICK_5").unwrap().is_below("TICK_60"));
        // Only types with others below them have no payload.
        for row in &EVENT_TYPES {
            let has_children = below(row.name) > 1;
            assert_eq!(row.fields.is_none(), has_children, "{}", row.name);
        }
    }

    #[test]
    fn payloads_have_supervisors_form() {
        let value = |field: &str| match field {
            "from_state" => "RUNNING".into(),
            "expected" => "0".into(),
            "pid" => "42".into(),
            "channel" => "stderr".into(),
            "processname" => "cat".into(),
            _ => "g".to_owned(),
        };
        let payload = |name: &str, data: &[u8]| EventType::named(name).unwrap().payload(&value, data);
        assert_eq!(
            payload("PROCESS_STATE_EXITED", b""),
            "processname:cat groupname:g from_state:RUNNING expected:0 pid:42"
        );
        assert_eq!(payload("PROCESS_LOG_STDERR", b"a\nb"), "processname:cat groupname:g pid:42 channel:stderr\na\nb");
        assert_eq!(payload("PROCESS_GROUP_ADDED", b""), "groupname:g\n");
        assert_eq!(payload("SUPERVISOR_STATE_CHANGE_RUNNING", b""), "");
        assert_eq!(payload("REMOTE_COMMUNICATION", b"\xff'\n"), "type:g\nUndecodable: b\"\\xff'\\n\"");
        assert_eq!(python_bytes(b"a'\"\\\t\x00~"), r#"b'a\'"\\\t\x00~'"#);
    }
}
