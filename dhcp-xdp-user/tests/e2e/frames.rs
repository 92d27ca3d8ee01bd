//! Frames that no client program sends on request: tagged, several queues' worth, and wrong in every way.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dhcproto::v4::MessageType;
use libtest_mimic::Trial;
use xtask::lab::{
    Capture, Server, Veth,
    raw::RawSocket,
    server::{drop_reasons, drops, messages, queues, workers},
    wait_for,
};

use crate::{
    net::{Datagram, Reply, discover, replies, request, write_ip_checksum},
    site::{Direct, OUTSIDE, SERVER, figure, stop},
    test,
};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

pub fn tests() -> Vec<Trial> {
    let tagged: [(&str, &'static [u16]); 3] = [("no", &[]), ("one", &[0x8100]), ("two", &[0x88a8, 0x8100])];
    let exchanges = tagged.into_iter().map(|(count, tags)| {
        test(format!("an_exchange_with_{count}_vlan_tags_is_answered_in_kind"), move || tag(tags))
    });
    let others = [
        test("ip_options_are_walked_over_and_not_sent_back", ip_options),
        test("wrong_frames_are_dropped_for_a_named_reason", wrong),
        test("what_is_not_ours_goes_to_the_kernel", not_ours),
        test("two_workers_on_one_queue_share_evenly", two_workers),
        test("every_queue_is_served", several_queues),
    ];
    exchanges.chain(others).collect()
}

/// Waits until the server has counted this many of a message.
fn wait_messages(server: &Server, name: &str, count: u64) -> Result<()> {
    let mut last = 0;
    let done = wait_for("messages to be counted", Duration::from_secs(5), || {
        last = messages(&server.stats()?, name);
        Ok((last >= count).then_some(()))
    });
    done.with_context(|| format!("{last} of {count} {name}: {}", drop_reasons(&server.stats().unwrap_or_default())))
}

/// Sends a DISCOVER in this envelope and then the REQUEST for what was offered; gives the OFFER and the ACK.
fn exchange(site: &Direct, server: &Server, envelope: &Datagram<'_>) -> Result<[Reply; 2]> {
    let socket = RawSocket::open(site.client_end())?;
    let ask = |payload: &[u8], name: &str, file: &str| {
        let capture = Capture::start(&site.outside, OUTSIDE, site.lab.path(file))?;
        socket.send(&envelope.frame(payload))?;
        wait_messages(server, name, 1)?;
        let captured = capture.stop()?;
        captured.expect_well_formed(SERVER)?;
        replies(&captured.frames()?)?.pop().with_context(|| format!("no reply to be seen: {name}"))
    };
    let offer = ask(&discover(MAC, 1), "offer", "offer.pcap")?;
    ensure!(offer.kind() == Some(MessageType::Offer), "{offer:?}");
    let ack = ask(&request(&offer, MAC, 2)?, "ack", "ack.pcap")?;
    ensure!(ack.kind() == Some(MessageType::Ack), "{ack:?}");
    // The clients here set the broadcast flag (RFC 2131 4.1).
    ensure!([offer.to, ack.to] == [[0xff; 6]; 2], "sent to {:02x?} and {:02x?}", offer.to, ack.to);
    ensure!(ack.message.yiaddr() == offer.message.yiaddr(), "{offer:?} and {ack:?}");
    Ok([offer, ack])
}

fn tag(tags: &'static [u16]) -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    let expected: Vec<(u16, u16)> = tags.iter().zip(100..).map(|(&ethertype, id)| (ethertype, id)).collect();
    for reply in exchange(&site, &server, &Datagram { tags, mac: MAC, ..Datagram::default() })? {
        ensure!(reply.tags == expected, "tags {:04x?} for {expected:04x?}", reply.tags);
    }
    stop(server, site.server_end()).map(drop)
}

fn ip_options() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    exchange(&site, &server, &Datagram { ip_options: 40, mac: MAC, ..Datagram::default() })?;
    stop(server, site.server_end()).map(drop)
}

/// A frame that is wrong, and the reason that the server should give.
fn wrong_frames() -> Vec<(&'static str, Vec<u8>)> {
    let envelope = Datagram::default();
    let whole = discover(MAC, 9);
    let changed = |offset: usize, value: u8| {
        let mut payload = whole.clone();
        payload[offset] = value;
        envelope.frame(&payload)
    };
    // From the first byte of the frame: 14 of Ethernet, 20 of IPv4, 8 of UDP.
    let mut bad_ip_checksum = envelope.frame(&whole);
    bad_ip_checksum[24] ^= 0x55;
    let mut udp_too_long = envelope.frame(&whole);
    udp_too_long[38] = 0x40;
    let mut udp_too_short = envelope.frame(&whole);
    udp_too_short[38..40].copy_from_slice(&[0, 7]);
    let mut total_too_long = envelope.frame(&whole);
    total_too_long[16] = 0x20;
    write_ip_checksum(&mut total_too_long[14..34]);
    let mut runs_out = whole[..240].to_vec();
    runs_out.extend([53, 1, 1, 12, 200, b'x']);
    let mut no_type = whole[..240].to_vec();
    no_type.extend([12, 1, b'x', 255]);
    let mut of_a_server = whole[..240].to_vec();
    of_a_server.extend([53, 1, 2, 255]);
    vec![
        ("bad_ip_checksum", bad_ip_checksum),
        ("bad_udp_length", udp_too_long),
        ("bad_udp_length", udp_too_short),
        ("truncated", total_too_long),
        ("bootp_too_short", envelope.frame(&whole[..200])),
        ("bad_hlen", changed(2, 17)),
        ("bad_cookie", changed(236, 0)),
        ("bad_option", envelope.frame(&runs_out)),
        ("no_message_type", envelope.frame(&no_type)),
        ("unexpected_message_type", envelope.frame(&of_a_server)),
    ]
}

fn wrong() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    let socket = RawSocket::open(site.client_end())?;
    for (reason, frame) in wrong_frames() {
        let before = drops(&server.stats()?, reason);
        socket.send(&frame)?;
        let counted = wait_for("a drop to be counted", Duration::from_secs(2), || {
            Ok((drops(&server.stats()?, reason) == before + 1).then_some(()))
        });
        counted.with_context(|| format!("{reason}: {}", drop_reasons(&server.stats().unwrap_or_default())))?;
    }
    let stats = stop(server, site.server_end())?;
    let answered = figure(&stats, "/ledger/answered")?;
    ensure!(answered == 0, "{answered} of the wrong frames were answered");
    Ok(())
}

fn not_ours() -> Result<()> {
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&[])?;
    let socket = RawSocket::open(site.client_end())?;
    let payload = discover(MAC, 1);
    let mut reply = payload.clone();
    reply[0] = 2;
    let mut fragment = Datagram::default().frame(&payload);
    fragment[20] = 0x20;
    let cases = [
        ("pass_other_port", Datagram { destination_port: 68, ..Datagram::default() }.frame(&payload)),
        ("pass_other_op", Datagram::default().frame(&reply)),
        ("pass_fragment", fragment),
        ("pass_truncated", Datagram::default().frame(&payload)[..60].to_vec()),
        ("pass_other_destination", Datagram { destination: [198, 18, 0, 77], ..Datagram::default() }.frame(&payload)),
    ];
    for (verdict, frame) in cases {
        let counter = || figure(&server.stats()?, &format!("/interfaces/0/xdp/{verdict}"));
        let before = counter()?;
        socket.send(&frame)?;
        let counted = wait_for("a verdict", Duration::from_secs(2), || Ok((counter()? == before + 1).then_some(())));
        counted.context(verdict)?;
    }
    let stats = stop(server, site.server_end())?;
    ensure!(figure(&stats, "/interfaces/0/xdp/redirected")? == 0, "{}", stats["ledger"]);
    Ok(())
}

/// Sends DISCOVERs of this many clients, so slowly that nothing has to be lost; as if through 64 relay agents, so that their
/// flows are different ones.
fn many(site: &Direct, server: &Server, clients: u64) -> Result<()> {
    let socket = RawSocket::open(site.client_end())?;
    for n in 0..clients {
        let [.., a, b] = (n as u32).to_be_bytes();
        let mac = [2, 0, 1, 0, a, b];
        let source_port = 1024 + (n % 64) as u16;
        let envelope = Datagram { mac, source_port, ..Datagram::default() };
        socket.send(&envelope.frame(&discover(mac, n as u32)))?;
        if n % 64 == 63 {
            wait_messages(server, "discover", n + 1)?;
        }
    }
    wait_messages(server, "discover", clients)
}

fn two_workers() -> Result<()> {
    const CLIENTS: u64 = 1024;
    let site = Direct::new(Veth::default())?;
    let server = site.serve(&["--workers", "2"])?;
    many(&site, &server, CLIENTS)?;
    let stats = stop(server, site.server_end())?;
    let received: Vec<u64> = workers(&stats).filter_map(|worker| worker["received"].as_u64()).collect();
    ensure!(received.len() == 2, "{received:?}");
    let uneven = received[0].abs_diff(received[1]);
    ensure!(received.iter().sum::<u64>() == CLIENTS && uneven <= CLIENTS / 10, "an uneven split: {received:?}");
    Ok(())
}

fn several_queues() -> Result<()> {
    const CLIENTS: u64 = 1024;
    let site = Direct::new(Veth { queues: 2, ..Veth::default() })?;
    let server = site.serve(&["--workers", "2"])?;
    many(&site, &server, CLIENTS)?;
    let stats = stop(server, site.server_end())?;
    let received = |queue: &serde_json::Value| -> u64 {
        let workers = queue["workers"].as_array().into_iter().flatten();
        workers.filter_map(|worker| worker["received"].as_u64()).sum()
    };
    let received: Vec<u64> = queues(&stats).map(received).collect();
    ensure!(received.len() == 2 && received.iter().all(|&count| count > 0), "by queue: {received:?}");
    ensure!(workers(&stats).all(|worker| worker["sent"].as_u64() > Some(0)), "a worker sent nothing: {stats}");
    ensure!(messages(&stats, "offer") == CLIENTS, "{} offers", messages(&stats, "offer"));
    Ok(())
}
