//! Check mode catches mistakes: each mutant of a kernel file fails in the cases that the file itself passes.

use adapterd::device::DeviceError;
use emulator::{Build, MUTANTS, Order};

use crate::cases;
use crate::emulated::Emulated;

#[test]
fn the_checks_catch_every_mutant_and_say_what_is_wrong() {
    for (at, mutant) in MUTANTS.iter().enumerate() {
        for order in Order::ALL {
            let device = Emulated::new(Build::Mutant(at), order, 1);
            let name = mutant.name;
            let Err(DeviceError::Fault { problem, .. }) = cases::run(mutant.file, &device, 300)
            else {
                panic!("{name} is not caught, {order:?}");
            };
            let said = mutant.caught_as.iter().any(|said| problem.contains(said));
            assert!(said, "{name}, {order:?}: `{problem}`");
        }
    }
}
