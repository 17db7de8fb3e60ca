use super::*;
use crate::adapter::peft;
use crate::adapter::testing::{fit, sites, specimen};

fn adapter(seed: u64) -> Arc<Adapter> {
    Arc::new(peft::read(&specimen(1, seed), &fit(&sites(1))).unwrap())
}

fn bytes() -> u64 {
    adapter(0).bytes()
}

fn load(residency: &Residency, adapter: &Arc<Adapter>) -> Result<(Held, Vec<Generation>), Reason> {
    let (room, evicted) = residency.reserve(adapter.bytes())?;
    Ok((residency.admit(room, adapter.clone()), evicted))
}

#[test]
fn the_version_used_longest_ago_goes_first() {
    let residency = Residency::new(2 * bytes());
    let [a, b, c] = [1, 2, 3].map(adapter);
    drop(load(&residency, &a).unwrap());
    drop(load(&residency, &b).unwrap());
    drop(residency.hold(a.generation()).unwrap());
    let (_held, evicted) = load(&residency, &c).unwrap();
    assert_eq!(evicted, [b.generation()]);
    assert!(residency.is_resident(a.generation()) && residency.used() == 2 * bytes());
}

#[test]
fn a_version_asked_for_often_outlives_those_asked_for_once_but_not_for_ever() {
    let residency = Residency::new(2 * bytes());
    let hot = adapter(0);
    drop(load(&residency, &hot).unwrap());
    for _ in 0..7 {
        drop(residency.hold(hot.generation()).unwrap());
    }
    for seed in 1..50 {
        drop(load(&residency, &adapter(seed)).unwrap());
        assert!(residency.is_resident(hot.generation()), "after {seed}");
    }
    let now = adapter(49);
    for _ in 0..300 {
        drop(residency.hold(now.generation()).unwrap());
    }
    let (_held, evicted) = load(&residency, &adapter(50)).unwrap();
    assert_eq!(evicted, [hot.generation()], "hot long ago");
}

#[test]
fn a_version_told_to_leave_goes_with_its_last_lease_and_is_given_to_no_other() {
    let residency = Residency::new(2 * bytes());
    let [cold, hot] = [1, 2].map(adapter);
    let (lease, _) = load(&residency, &cold).unwrap();
    let (_kept, _) = load(&residency, &hot).unwrap();
    drop(residency.hold(hot.generation()).unwrap());
    residency.make_one_leave(bytes());
    assert!(residency.hold(cold.generation()).is_none());
    assert!(residency.hold(hot.generation()).is_some());
    drop(lease);
    assert!(!residency.is_resident(cold.generation()));
    assert_eq!(residency.used(), bytes());
    residency.set_pinned(HashSet::from([hot.generation()]));
    residency.make_one_leave(bytes());
    assert!(residency.hold(hot.generation()).is_some(), "pinned");
}

#[test]
fn no_more_versions_are_told_to_leave_than_make_room_and_all_may_stay_once_none_waits() {
    let residency = Residency::new(2 * bytes());
    let [cold, hot] = [1, 2].map(adapter);
    let (_cold, _) = load(&residency, &cold).unwrap();
    let (_hot, _) = load(&residency, &hot).unwrap();
    drop(residency.hold(hot.generation()).unwrap());
    for _ in 0..3 {
        residency.make_one_leave(bytes());
    }
    assert!(residency.hold(cold.generation()).is_none());
    assert!(residency.hold(hot.generation()).is_some(), "one is enough");
    residency.let_stay();
    assert!(residency.hold(cold.generation()).is_some());
}

#[test]
fn leased_and_pinned_versions_stay_and_a_full_house_says_so() {
    let residency = Residency::new(2 * bytes());
    let [a, b, c] = [1, 2, 3].map(adapter);
    let (lease, _) = load(&residency, &a).unwrap();
    drop(load(&residency, &b).unwrap());
    residency.set_pinned(HashSet::from([b.generation()]));
    assert!(matches!(
        load(&residency, &c),
        Err(Reason::Overloaded { .. })
    ));
    assert!(!residency.retire(b.generation()), "pinned");
    drop(lease);
    assert_eq!(load(&residency, &c).unwrap().1, [a.generation()]);
}

#[test]
fn a_retired_version_counts_until_its_last_lease_and_comes_back_without_a_load() {
    let residency = Residency::new(4 * bytes());
    let a = adapter(1);
    let (first, _) = load(&residency, &a).unwrap();
    assert!(residency.retire(a.generation()));
    assert!(!residency.is_resident(a.generation()));
    assert_eq!(residency.used(), bytes());
    let second = residency.hold(a.generation()).unwrap();
    assert!(residency.is_resident(a.generation()));
    residency.retire(a.generation());
    drop((first, second));
    assert_eq!(residency.used(), 0);
    assert!(residency.hold(a.generation()).is_none());
}

#[test]
fn room_that_is_not_used_is_given_back() {
    let residency = Residency::new(bytes());
    drop(residency.reserve(bytes()).unwrap());
    assert_eq!(residency.used(), 0);
    assert!(matches!(
        residency.reserve(bytes() + 1),
        Err(Reason::WrongState(_))
    ));
}

#[test]
fn room_can_grow_within_the_budget() {
    let residency = Residency::new(2 * bytes());
    let [a, b] = [1, 2].map(adapter);
    drop(load(&residency, &a).unwrap());
    let (mut room, _) = residency.reserve(bytes()).unwrap();
    assert!(room.grow_to(bytes()).unwrap().is_empty());
    assert_eq!(room.grow_to(2 * bytes()).unwrap(), [a.generation()]);
    assert_eq!(residency.used(), 2 * bytes());
    assert!(room.grow_to(2 * bytes() + 1).is_err());
    drop(residency.admit(room, b));
    assert_eq!(residency.used(), bytes());
}

#[test]
fn a_version_admitted_twice_is_counted_once() {
    let residency = Residency::new(2 * bytes());
    let a = adapter(1);
    let rooms = [(); 2].map(|()| residency.reserve(a.bytes()).unwrap().0);
    let held = rooms.map(|room| residency.admit(room, a.clone()));
    assert_eq!(residency.used(), bytes());
    assert!(Arc::ptr_eq(held[0].adapter(), held[1].adapter()));
    drop(held);
    assert!(residency.is_resident(a.generation()));
    residency.retire(a.generation());
    assert_eq!(residency.used(), 0);
}

#[test]
fn a_version_unloaded_while_it_is_being_pinned_stays() {
    let residency = Residency::new(2 * bytes());
    let [a, b] = [1, 2].map(adapter);
    for retire_first in [true, false] {
        let (lease, _) = load(&residency, &a).unwrap();
        if retire_first {
            residency.retire(a.generation());
        }
        residency.set_pinned(HashSet::from([a.generation()]));
        residency.retire(a.generation());
        drop(lease);
        assert!(residency.is_resident(a.generation()), "{retire_first}");
        residency.set_pinned(HashSet::new());
        assert!(residency.retire(a.generation()));
    }
    // What another pin says nothing of goes.
    let (lease, _) = load(&residency, &b).unwrap();
    residency.retire(b.generation());
    residency.set_pinned(HashSet::from([a.generation()]));
    drop(lease);
    assert!(!residency.is_resident(b.generation()));
}
