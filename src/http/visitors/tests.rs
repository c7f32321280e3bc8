//! Strangers and their number: who has to go, who never has to, and that nothing is counted for ever.

use super::*;

fn visitors(of_address: usize, refusals: u32, descriptors: u64) -> Arc<Visitors> {
    Arc::new(Visitors::new(of_address, refusals, Some(descriptors)))
}

fn at(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// Whether it has to go.
fn gone(guest: &Guest) -> bool {
    guest.visit.poll_unwanted(&Context::from_waker(std::task::Waker::noop())).is_ready()
}

fn counted(visitors: &Visitors) -> (usize, usize) {
    let strangers = visitors.strangers.lock();
    (strangers.all.len(), strangers.of_address.len())
}

/// A stranger who comes from an address at this second.
fn stranger(visitors: &Arc<Visitors>, address: &str, second: u64) -> (Guest, usize) {
    visitors.enter(at(address), false, Duration::from_secs(second))
}

#[test]
fn the_oldest_strangers_of_a_crowded_address_go() {
    let visitors = visitors(2, 1, 1000);
    let (elsewhere, _) = stranger(&visitors, "192.0.2.2", 0);
    let guests: Vec<_> = [0, 0, 5, 9].into_iter().map(|second| stranger(&visitors, "192.0.2.1", second)).collect();
    assert_eq!(guests.iter().map(|(_, gone)| *gone).collect::<Vec<_>>(), [0, 0, 1, 1]);
    assert_eq!(guests.iter().map(|(guest, _)| gone(guest)).collect::<Vec<_>>(), [true, true, false, false]);
    assert!(!gone(&elsewhere));
}

#[test]
fn a_burst_is_let_in_and_thinned_out_when_it_is_no_longer_young() {
    let visitors = visitors(2, 1, 1000);
    let burst: Vec<_> = (0..10).map(|_| stranger(&visitors, "192.0.2.1", 1).0).collect();
    assert!(!burst.iter().any(gone));
    assert_eq!(stranger(&visitors, "192.0.2.2", 9).1, 0);
    let (_late, many) = stranger(&visitors, "192.0.2.1", 3);
    assert_eq!((many, burst.iter().filter(|guest| gone(guest)).count()), (9, 9));
}

#[test]
fn who_is_proven_or_trusted_never_goes() {
    let visitors = visitors(2, 1, 1000);
    let (proven, trusted, busy) = (
        stranger(&visitors, "192.0.2.1", 0).0,
        visitors.enter(at("192.0.2.1"), true, Duration::ZERO).0,
        stranger(&visitors, "192.0.2.1", 0).0,
    );
    visitors.prove(&proven.visit);
    let _underway = busy.visit.begin();
    let _more = [5, 5].map(|second| stranger(&visitors, "192.0.2.1", second));
    assert_eq!([&proven, &trusted, &busy].map(gone), [false, false, true]);
}

#[test]
fn a_delivery_that_proves_itself_is_not_cut_off_by_who_came_meanwhile() {
    let visitors = visitors(1, 1, 1000);
    let (first, _) = stranger(&visitors, "192.0.2.1", 0);
    let (_second, many) = stranger(&visitors, "192.0.2.1", 5);
    visitors.prove(&first.visit);
    assert!(many == 1 && !gone(&first));
}

#[test]
fn all_addresses_together_have_half_of_the_descriptors_however_young_they_are() {
    let visitors = visitors(1000, 1, 8);
    let guests: Vec<_> = (0..6).map(|n| stranger(&visitors, &format!("192.0.2.{n}"), 0).0).collect();
    assert_eq!(guests.iter().filter(|guest| gone(guest)).count(), 2);
    assert_eq!(counted(&visitors), (4, 4));
    drop(guests);
    assert_eq!(counted(&visitors), (0, 0));
}

#[test]
fn a_network_of_ipv6_is_one_address_and_a_mapped_one_is_ipv4() {
    assert_eq!(counted_as(at("2001:db8:1:2:3:4:5:6")), counted_as(at("2001:db8:1:2::9")));
    assert_ne!(counted_as(at("2001:db8:1:2::9")), counted_as(at("2001:db8:1:3::9")));
    assert_eq!(counted_as(at("::ffff:192.0.2.1")), at("192.0.2.1"));
}

#[test]
fn refusals_beyond_the_limit_of_any_minute_are_told() {
    let visitors = visitors(1, 10, 1000);
    let refused = |second| visitors.refused(at("192.0.2.1"), Duration::from_secs(second));
    assert!((0..10).all(|n| !refused(n * 5)));
    assert!(refused(50) && !visitors.refused(at("192.0.2.2"), Duration::from_secs(50)));
    // Eleven stand in the minute before; as it leaves the window there is room again.
    assert!(refused(61) && !refused(80));
    assert!(!refused(1000));
}

#[test]
fn more_addresses_than_can_be_counted_are_forgotten() {
    let visitors = visitors(1, 1, 1000);
    for n in 0..u32::try_from(3 * ADDRESSES_MAX).unwrap() {
        visitors.refused(std::net::Ipv4Addr::from_bits(n).into(), Duration::ZERO);
    }
    assert!(visitors.refusals.lock().len() <= ADDRESSES_MAX);
}
