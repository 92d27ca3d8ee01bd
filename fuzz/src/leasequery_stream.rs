//! What comes over a connection of leasequery over TCP: framing and queries (RFC 6926, RFC 7724).
//!
//! Input: a byte that says in pieces of which length the rest comes, then the stream.

use dhcp_xdp::leasequery::tcp::{Ask, FrameError, Primary, Query, Refusal, StreamReader};

use crate::{
    Seed,
    input::Input,
    message::{self, Message},
};

/// What a stream comes to: its queries, and why it was closed.
type Read = (Vec<Result<Query, Refusal>>, Option<FrameError>);

fn read(stream: &[u8], piece: usize) -> Read {
    let (mut reader, mut queries) = (StreamReader::default(), Vec::new());
    for bytes in stream.chunks(piece) {
        reader.push(bytes);
        loop {
            match reader.message() {
                Ok(Some(message)) => {
                    assert!(message.len() >= 240, "it has the fixed part and the magic cookie");
                    queries.push(judge(message));
                }
                Ok(None) => break,
                Err(error) => return (queries, Some(error)),
            }
        }
        assert!(reader.held() < 2 + 65535, "no more than a message is held");
    }
    (queries, None)
}

fn judge(message: &[u8]) -> Result<Query, Refusal> {
    let read = Query::parse(message);
    let origin = match &read {
        Ok(query) => query.origin,
        Err(Refusal::Tell(origin, ..)) => *origin,
        Err(Refusal::Close(_)) => return read,
    };
    assert_eq!(origin.xid.to_be_bytes(), message[4..8], "the reply is to this query");
    assert_eq!(origin.giaddr.octets(), message[24..28]);
    if let Ok(Query { ask: Ask::Bulk(selection), .. }) = &read {
        assert_eq!(message[12..24], [0; 12], "ciaddr, yiaddr, siaddr");
        assert!(selection.start_s.zip(selection.end_s).is_none_or(|(start, end)| start <= end));
        assert!(matches!(selection.of, Primary::Hw(_)) == (message[1..3] != [0, 0] || message[28..44] != [0; 16]));
    }
    read
}

/// Any stream: however it is cut, it says the same.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (piece, stream) = (usize::from(input.byte()).max(1), input.rest());
    assert_eq!(read(stream, piece), read(stream, stream.len().max(1)));
}

fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let framed = messages.iter().flat_map(|message| [&(message.len() as u16).to_be_bytes()[..], message].concat());
    framed.collect()
}

/// Streams of each kind of query, and of none.
pub fn seeds() -> Vec<Seed> {
    let query = |kind: u8| {
        let mut payload = Message::new(kind, 1).payload();
        payload[1..3].fill(0);
        payload[28..34].fill(0);
        payload
    };
    let with = |kind: u8, code: u8, data: &[u8]| {
        let mut payload = Message::new(kind, 1).option(code, data).payload();
        payload[1..3].fill(0);
        payload[28..34].fill(0);
        payload
    };
    let put = |piece: u8, messages: &[Vec<u8>]| [vec![piece], framed(messages)].concat();
    let by_hw = Message::new(BULK, 1).payload();
    let mut with_address = query(BULK);
    with_address[12] = 192;
    vec![
        ("bulk-all", put(255, &[query(BULK)])),
        ("bulk-byte-by-byte", put(1, &[query(BULK), by_hw.clone()])),
        ("bulk-by-hardware-address", put(100, &[by_hw])),
        ("bulk-by-client-identifier", put(255, &[with(BULK, 61, b"\x01me")])),
        ("bulk-by-remote-identifier", put(255, &[with(BULK, 82, b"\x02\x02r1")])),
        ("bulk-by-relay-identifier", put(255, &[with(BULK, 82, b"\x0c\x02x1")])),
        ("bulk-in-a-window", put(255, &[with(BULK, 154, &[0, 0, 1, 0]), with(BULK, 155, &[0, 0, 2, 0])])),
        ("bulk-of-a-vpn", put(255, &[with(BULK, 221, b"\x00red"), with(BULK, 221, &[254])])),
        ("bulk-with-an-address", put(255, &[with_address])),
        ("active", put(255, &[query(ACTIVE), with(ACTIVE, 154, &[0, 0, 1, 0])])),
        ("active-with-an-end", put(255, &[with(ACTIVE, 155, &[0, 0, 1, 0])])),
        ("tls", put(255, &[query(TLS)])),
        ("a-discover", put(255, &[query(message::DISCOVER)])),
        ("a-size-of-nothing", vec![255, 0, 0, 1, 1]),
        ("a-message-that-does-not-end", [vec![7], vec![255; 2], query(BULK)].concat()),
    ]
}

const BULK: u8 = 14;
const ACTIVE: u8 = 16;
const TLS: u8 = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_what_they_are_called() {
        for (name, data) in seeds() {
            let (queries, error) = read(&data[1..], 4096);
            let is_good = !queries.is_empty() && queries.iter().all(Result::is_ok);
            let is_bad = ["bulk-with-an-address", "active-with-an-end", "a-discover"].contains(&name);
            let is_none = name.starts_with("a-") && !is_bad;
            assert_eq!((is_good, error.is_some()), (!is_bad && !is_none, name == "a-size-of-nothing"), "{name}");
        }
    }
}
