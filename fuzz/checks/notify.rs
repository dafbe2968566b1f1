//! Datagrams of NOTIFY_SOCKET.

use rsup::probes::notify::{Message, parse};

/// The lines of a datagram are independent, and each gives at most one message. A status has no control characters and a limit.
pub fn notify(data: &[u8]) {
    let messages = parse(data);
    let lines = data.split(|byte| *byte == b'\n').map(parse);
    assert!(lines.clone().all(|line| line.len() <= 1));
    assert_eq!(messages, lines.flatten().collect::<Vec<_>>());
    for message in messages {
        match message {
            Message::Status(text) => assert!(text.chars().count() <= 256 && !text.contains(char::is_control)),
            Message::MainPid(pid) => assert!(pid > 0),
            _ => {}
        }
    }
}
