//! How many connections each address has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use super::counts::Counts;

/// Who is counted as one: an address, or the part of an IPv6 address that a network is given, since whoever has one of
/// those has 2^64.
pub(in crate::api) fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 => v4,
    }
}

/// Cheap to clone. Holds no more entries than there are connections.
#[derive(Clone)]
pub(super) struct Addresses {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
    counts: Arc<Counts>,
}

/// One connection of an address; given back when dropped.
pub(in crate::api) struct Place {
    addresses: Addresses,
    block: IpAddr,
}

impl Addresses {
    pub fn new(most: usize, counts: Arc<Counts>) -> Self {
        Self {
            open: Arc::default(),
            most: most.max(1),
            counts,
        }
    }

    /// `None`: it has as many as one may have.
    pub fn place(&self, address: IpAddr) -> Option<Place> {
        let block = block(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let held = open.get(&block).copied().unwrap_or(0);
        if held >= self.most {
            return None;
        }
        open.insert(block, held + 1);
        self.counts.addresses.set(open.len());
        drop(open);
        Some(Place {
            addresses: self.clone(),
            block,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let open = self.addresses.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.block) {
            Some(held) if *held > 1 => *held -= 1,
            _ => {
                open.remove(&self.block);
            }
        }
        self.addresses.counts.addresses.set(open.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let counts = Arc::new(Counts::default());
        let addresses = Addresses::new(2, counts.clone());
        let (one, other): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = addresses.place(one).unwrap();
        let _second = addresses.place(one).unwrap();
        assert!(addresses.place(one).is_none());
        let third = addresses.place(other).unwrap();
        assert_eq!(counts.addresses.now(), 2);
        drop((first, third));
        assert_eq!(counts.addresses.now(), 1);
        assert!(addresses.place(one).is_some());
    }

    #[test]
    fn one_network_of_ipv6_is_one_address_and_a_mapped_one_is_its_ipv4() {
        let of = |text: &str| block(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
