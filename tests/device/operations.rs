//! The operations on the emulated device agree with the host's arms.

use adapterd::device::Accelerator;
use emulator::{Build, Order};

use crate::cases;
use crate::emulated::Emulated;

pub const FILES: [&str; 3] = ["norm", "q8_0", "segmented"];

fn agree(build: Build, seed: u64) {
    for (at, order) in Order::ALL.into_iter().enumerate() {
        for file in FILES {
            let device = Emulated::new(build, order, seed);
            let ran = cases::run(file, &device, seed + at as u64);
            ran.unwrap_or_else(|error| panic!("{file}, {order:?}: {error}"));
            assert_eq!(device.live(), 0, "{file}: buffers are left");
            let budget = device.budget();
            assert_eq!(budget.left(), budget.limit(), "{file}");
        }
    }
}

#[test]
fn every_operation_agrees_with_the_hosts_in_any_order_of_threads() {
    agree(Build::Plain, 100);
}

#[test]
fn no_operation_does_what_the_checks_forbid() {
    agree(Build::Checked, 200);
}
