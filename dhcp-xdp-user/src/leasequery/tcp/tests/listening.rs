use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, SocketAddrV4, TcpStream},
};

use super::*;
use crate::leasequery::tcp::{ListenError, Listening, Tcp};

const LOCAL: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);

fn listening(change: impl FnOnce(&mut Settings)) -> (Tcp, SocketAddr, Site) {
    let mut settings = settings();
    settings.listen = vec![LOCAL];
    change(&mut settings);
    let site = Site::new(50);
    let listening = Listening::open(settings, None).unwrap();
    let address = listening.addresses().next().unwrap();
    (listening.serve(site.shared.world.clone()).unwrap(), address, site)
}

/// What a connection tells of all addresses: how many there are.
fn bulk(stream: &TcpStream) -> usize {
    let mut requestor = xtask::lab::Requestor::over(stream.try_clone().unwrap()).unwrap();
    requestor.send(&message(BULK, 1, &[])).unwrap();
    let mut replies = 0;
    while Reply::read(requestor.message().unwrap().expect("closed")).unwrap().kind != DONE {
        replies += 1;
    }
    replies
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn is_closed_at_once(mut stream: TcpStream) -> bool {
    // Before the server closes one that asks nothing.
    stream.set_read_timeout(Some(settings().data_timeout / 2)).unwrap();
    match stream.read(&mut [0; 1]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn it_serves_over_tcp_and_says_goodbye() {
    let (tcp, address, _site) = listening(|_| {});
    let stream = connect(address);
    assert_eq!(bulk(&stream), 50);
    assert_eq!(bulk(&stream), 50, "a connection is good for more than one query");
    let idle = connect(address);
    let start = std::time::Instant::now();
    let stats = tcp.stop();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(is_closed_at_once(stream) && is_closed_at_once(idle));
    assert_eq!((stats.connections, stats.bindings, stats.bulk_queries), (0, 100, 2));
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn connections_not_from_permitted_requestors_should_be_closed_immediately() {
    let site = Site::new(50);
    let mut config = config(50);
    config.leasequery = Some(config::LeaseQuery::new(["192.0.2.0/24".parse().unwrap()], 1, Codes::default()));
    let world = World { config: Arc::new(config), ..site.shared.world.clone() };
    let listening = Listening::open(Settings { listen: vec![LOCAL], ..settings() }, None).unwrap();
    let address = listening.addresses().next().unwrap();
    let tcp = listening.serve(world).unwrap();
    for _ in 0..3 {
        assert!(is_closed_at_once(connect(address)));
    }
    let stats = tcp.stop();
    assert_eq!((stats.refused_source, stats.accepted), (3, 0));
}

#[test]
fn if_the_number_of_connections_is_over_the_most_they_should_be_closed_immediately() {
    let (tcp, address, _site) = listening(|settings| settings.max_connections = 2);
    let mut held: Vec<TcpStream> = (0..2).map(|_| connect(address)).collect();
    for stream in &held {
        assert_eq!(bulk(stream), 50);
    }
    for _ in 0..1000 {
        assert!(is_closed_at_once(connect(address)));
    }
    assert_eq!(tcp.stats().connections, 2);
    assert_eq!(bulk(&held[0]), 50, "who is served stays so");
    drop(held.pop());
    while tcp.stats().connections > 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(bulk(&connect(address)), 50, "and there is room again");
    assert_eq!(tcp.stop().refused_full, 1000);
}

#[test]
fn one_source_does_not_take_all_connections() {
    let (tcp, address, _site) = listening(|settings| settings.max_connections_per_source = 2);
    let mut held: Vec<TcpStream> = (0..2).map(|_| connect(address)).collect();
    for stream in &held {
        assert_eq!(bulk(stream), 50);
    }
    for _ in 0..100 {
        assert!(is_closed_at_once(connect(address)));
    }
    // All of 127.0.0.0/8 is this machine's, and may ask.
    let other = xtask::lab::requestor::connect_from([127, 0, 0, 2].into(), address).unwrap();
    assert_eq!(bulk(&other), 50, "there is room for another one");
    let stats = tcp.stats();
    assert_eq!((stats.connections, stats.refused_source_full, stats.refused_full), (3, 100, 0));
    drop(held.pop());
    while tcp.stats().connections > 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(bulk(&connect(address)), 50, "and there is room again for this one");
    assert_eq!(tcp.stop().refused_source_full, 100);
}

#[test]
fn it_listens_on_the_interfaces_that_are_named_and_says_which_one_is_not_there() {
    let site = Site::new(50);
    let settings = || Settings { listen: vec![LOCAL], ..settings() };
    let listening = Listening::open(settings(), Some(&["lo".to_owned()])).unwrap();
    let address = listening.addresses().next().unwrap();
    let tcp = listening.serve(site.shared.world.clone()).unwrap();
    assert_eq!(bulk(&connect(address)), 50);
    drop(tcp);
    let error = Listening::open(settings(), Some(&["lo".to_owned(), "no-such-if".to_owned()])).unwrap_err();
    assert!(matches!(error, ListenError::NoInterface { .. }), "{error}");
    assert!(error.to_string().contains("127.0.0.1:0 at no-such-if") && !error.to_string().contains('\n'), "{error}");
}

#[test]
fn a_requestor_that_never_reads_does_not_hold_up_the_stop() {
    let (tcp, address, _site) = listening(|settings| settings.max_queries = 100);
    let mut stream = connect(address);
    for xid in 0..100u32 {
        let query = message(BULK, xid, &[]);
        stream.write_all(&(query.len() as u16).to_be_bytes()).unwrap();
        stream.write_all(&query).unwrap();
    }
    std::thread::sleep(Duration::from_millis(100));
    let start = std::time::Instant::now();
    tcp.stop();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn a_port_that_is_taken_and_an_address_that_is_not_there_are_told_in_one_line() {
    let (_tcp, taken, _site) = listening(|_| {});
    let SocketAddr::V4(taken) = taken else { panic!() };
    let open = |address| Listening::open(Settings { listen: vec![address], ..settings() }, None).unwrap_err();
    let error = open(taken);
    assert!(matches!(error, ListenError::InUse(_)) && error.to_string().contains(&taken.to_string()), "{error}");
    let error = open("192.0.2.77:67".parse().unwrap());
    assert!(matches!(error, ListenError::NoAddress(_)), "{error}");
    assert!(error.to_string().contains("192.0.2.77:67") && !error.to_string().contains('\n'), "{error}");
}
