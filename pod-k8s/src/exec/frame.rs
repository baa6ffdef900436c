//! The frames of Kubernetes' channel protocol: the first byte of each message is its channel.
//!
//! The channels are those of `k8s.io/apimachinery/pkg/util/remotecommand/constants.go`.

use bytes::{BufMut, Bytes, BytesMut};

/// The subprotocol in which the end of stdin can be told (Kubernetes 1.30 and later).
pub(crate) const V5: &str = "v5.channel.k8s.io";
/// The one before: the end of stdin can be told only by closing everything.
pub(crate) const V4: &str = "v4.channel.k8s.io";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// What a message from the server holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// Output.
    Stdout(Bytes),
    /// Errors.
    Stderr(Bytes),
    /// How it ended: a `Status` as JSON.
    Status(Bytes),
    /// Nothing, or a channel that says nothing here.
    Nothing,
}

/// Reads a message. Empty ones open a channel or keep the connection awake.
pub(crate) fn decode(mut message: Bytes) -> Incoming {
    if message.len() < 2 {
        return Incoming::Nothing;
    }
    let channel = message.split_to(1)[0];
    match channel {
        STDOUT => Incoming::Stdout(message),
        STDERR => Incoming::Stderr(message),
        STATUS => Incoming::Status(message),
        _ => Incoming::Nothing,
    }
}

/// A piece of stdin.
pub(crate) fn stdin(data: &[u8]) -> Bytes {
    channel(STDIN, data)
}

/// The end of stdin; only [`V5`] has it.
pub(crate) fn stdin_end() -> Bytes {
    Bytes::from_static(&[CLOSE, STDIN])
}

/// The terminal's size.
pub(crate) fn resize(rows: u16, cols: u16) -> Bytes {
    channel(RESIZE, format!("{{\"Width\":{cols},\"Height\":{rows}}}").as_bytes())
}

/// A message of any channel.
pub(crate) fn channel(channel: u8, data: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(data.len() + 1);
    message.put_u8(channel);
    message.put_slice(data);
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_by_their_first_byte() {
        assert_eq!(decode(Bytes::from_static(b"\x01out")), Incoming::Stdout(Bytes::from_static(b"out")));
        assert_eq!(decode(Bytes::from_static(b"\x02e")), Incoming::Stderr(Bytes::from_static(b"e")));
        assert_eq!(decode(Bytes::from_static(b"\x03{}")), Incoming::Status(Bytes::from_static(b"{}")));
        for nothing in [&b""[..], b"\x01", b"\x02", b"\x00x", b"\xff\x01", b"\x09x"] {
            assert_eq!(decode(Bytes::copy_from_slice(nothing)), Incoming::Nothing, "{nothing:?}");
        }
    }

    #[test]
    fn what_is_sent_is_as_the_server_reads_it() {
        assert_eq!(&stdin(b"a\0")[..], b"\x00a\0");
        assert_eq!(&stdin_end()[..], b"\xff\x00");
        assert_eq!(&resize(33, 101)[..], b"\x04{\"Width\":101,\"Height\":33}");
    }
}
