use super::*;

/// A requestor that is served while the others do what they do.
async fn is_served(site: &Site) {
    let mut requestor = site.connect();
    requestor.ask(BULK, 1, &[]).await;
    let (_, done) = requestor.all().await;
    assert_eq!(done.status(), None);
}

#[tokio::test]
async fn a_size_that_no_message_has_closes_the_connection() {
    let site = Site::new(2);
    for size in [0u16, 1, 239] {
        let mut requestor = site.connect();
        requestor.write(&size.to_be_bytes()).await;
        assert!(requestor.closes().await);
    }
    assert_eq!(site.ended("malformed"), 3);
    is_served(&site).await;
}

#[tokio::test]
async fn noise_and_messages_of_other_protocols_close_the_connection() {
    let site = Site::new(2);
    for noise in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0x16, 3, 1, 2, 0, 1, 0, 1], &[0; 600]] {
        let mut requestor = site.connect();
        requestor.write(noise).await;
        // What looks like a size is waited for, as long as any other message.
        requestor.stream.shutdown().await.unwrap();
        assert!(requestor.closes().await);
    }
    for kind in [1, 3, 10, 15] {
        let mut requestor = site.connect();
        requestor.ask(kind, 1, &[]).await;
        assert!(requestor.closes().await, "{kind}");
    }
    is_served(&site).await;
}

#[tokio::test]
async fn the_longest_message_is_read_whatever_is_in_it() {
    let site = Site::new(2);
    let mut long = message(BULK, 4, &[]);
    long.pop();
    while long.len() + 257 < 65535 {
        long.extend([224, 255]);
        long.extend([7; 255]);
    }
    long.resize(65535, 0);
    let mut requestor = site.connect();
    requestor.send(&long).await;
    assert_eq!(requestor.all().await.0.len(), 2);
}

#[tokio::test]
async fn a_query_that_comes_one_byte_at_a_time_is_answered_and_one_that_never_ends_is_cut_off() {
    let site = Site::with(2, |settings| settings.data_timeout = Duration::from_millis(700));
    let mut requestor = site.connect();
    let query = message(BULK, 4, &[]);
    let framed: Vec<u8> = (query.len() as u16).to_be_bytes().into_iter().chain(query).collect();
    for byte in &framed {
        requestor.write(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(requestor.all().await.0.len(), 2);

    // A byte now and then keeps nothing open: only a query does.
    let mut endless = site.connect();
    endless.write(&[255, 255, 1, 1]).await;
    let start = std::time::Instant::now();
    while endless.stream.write_all(&[7]).await.is_ok() {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
        if site.ended("idle") > 0 {
            break;
        }
    }
    assert!(site.ended("idle") > 0);
    is_served(&site).await;
}

#[tokio::test]
async fn who_asks_nothing_is_closed_after_the_data_timeout_and_who_is_answered_after_the_next_one() {
    let site = Site::with(2, |settings| settings.data_timeout = Duration::from_millis(300));
    let requestor = site.connect();
    assert!(requestor.closes().await);
    let mut requestor = site.connect();
    for xid in 0..4 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        requestor.ask(BULK, xid, &[]).await;
        requestor.all().await;
    }
    assert!(requestor.closes().await);
    assert_eq!(site.ended("idle"), 2);
}

#[tokio::test]
async fn if_the_connection_becomes_blocked_the_server_terminates_it_after_the_data_timeout() {
    let site = Site::with(5000, |settings| settings.data_timeout = Duration::from_millis(300));
    let mut requestor = site.connect_narrow(1000);
    requestor.ask(BULK, 1, &[]).await;
    until(|| site.ended("blocked") > 0).await;
    assert!(site.stats().bindings < 500, "no more was made than a chunk: {:?}", site.stats());
    is_served(&site).await;
}

#[tokio::test]
async fn if_the_server_detects_that_the_requesting_end_has_been_closed_it_must_close_its_end() {
    let site = Site::with(5000, |settings| settings.bindings_per_s = Some(500));
    let mut requestor = site.connect();
    requestor.ask(BULK, 1, &[]).await;
    requestor.reply().await;
    let served = requestor.served;
    drop(requestor.stream);
    served.await.unwrap();
    assert_eq!(site.ended("requestor"), 1);
    assert!(site.stats().bindings < 5000);
}

#[tokio::test]
async fn a_transaction_identifier_that_is_in_use_closes_the_connection() {
    let site = Site::with(5000, |settings| settings.bindings_per_s = Some(500));
    let mut requestor = site.connect();
    requestor.ask(BULK, 1, &[]).await;
    requestor.ask(BULK, 1, &[]).await;
    assert_eq!(last_word(requestor).await, (15, Some(2)));
    assert_eq!(site.ended("malformed"), 1);
}

/// The type and the status of the last message before the end.
async fn last_word(mut requestor: Requestor) -> (u8, Option<u8>) {
    let mut last = None;
    while let Some(reply) = requestor.next().await {
        last = Some((reply.kind, reply.status()));
    }
    last.expect("something was said")
}

#[tokio::test]
async fn every_bulk_leasequery_must_be_terminated_by_a_dhcpleasequerydone_if_such_a_message_can_be_sent() {
    for (kind, ended) in [(16, "refused"), (1, "malformed")] {
        let site = Site::with(5000, |settings| settings.bindings_per_s = Some(500));
        let mut requestor = site.connect();
        requestor.ask(BULK, 1, &[]).await;
        requestor.ask(kind, 2, &[]).await;
        assert_eq!(last_word(requestor).await, (15, Some(2)), "QueryTerminated");
        assert_eq!(site.ended(ended), 1);
    }
    let site = Site::with(5000, |settings| settings.bindings_per_s = Some(500));
    let mut requestor = site.connect();
    requestor.ask(BULK, 1, &[]).await;
    requestor.write(&[0, 3]).await;
    assert_eq!(last_word(requestor).await, (15, Some(2)));
}

#[tokio::test]
async fn an_active_query_that_another_one_ends_is_told_so() {
    let site = Site::new(2);
    let mut requestor = site.connect();
    requestor.ask(16, 1, &[]).await;
    requestor.ask(16, 2, &[]).await;
    assert_eq!(last_word(requestor).await, (17, Some(2)), "QueryTerminated");
    assert_eq!(site.stats().active, 0);
}

#[tokio::test]
async fn a_flood_of_queries_waits_for_its_turn_and_grows_nothing() {
    let site = Site::with(2, |settings| settings.bindings_per_s = Some(2000));
    let mut requestor = site.connect();
    let mut flood = message(BULK, 0, &[(61, b"\x01a"), (82, b"\x02\x01r")]);
    let start = std::time::Instant::now();
    for xid in 0..400u32 {
        flood[4..8].copy_from_slice(&xid.to_be_bytes());
        requestor.send(&flood).await;
        assert_eq!(requestor.reply().await.status(), Some(4));
    }
    assert!(start.elapsed() > Duration::from_millis(190), "a query costs as a binding does");
}
