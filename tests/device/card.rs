//! The same cases on a real device, where there is one: what the emulated device cannot show is what is new here.

use std::env;

use adapterd::device::DeviceError;
use adapterd::kernels::cuda::Cuda;

use crate::cases;
use crate::operations::FILES;
use crate::recording::replay_a_step;

/// Set to anything, a missing device is a failure: a machine that is meant to have one must not pass without it.
const NEEDS_GPU: &str = "ADAPTERD_NEEDS_GPU";

#[test]
fn a_real_device_agrees_with_the_host_where_there_is_one() -> Result<(), DeviceError> {
    let device = match Cuda::open(0, Some(1 << 30)) {
        Ok(device) => device,
        Err(DeviceError::Absent(why)) if env::var_os(NEEDS_GPU).is_none() => {
            println!("not tested: {why}");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for seed in 400..410 {
        for file in FILES {
            cases::run(file, &device, seed)?;
        }
    }
    replay_a_step(&device)
}
