//! The same cases on a real device, where there is one: what the emulated device cannot show is what is new here.

use adapterd::device::DeviceError;
use adapterd::kernels::cuda::Cuda;

use crate::cases;
use crate::operations::FILES;
use crate::recording::replay_a_step;

#[test]
fn a_real_device_agrees_with_the_host_where_there_is_one() -> Result<(), DeviceError> {
    let device = match Cuda::open(0, Some(1 << 30)) {
        Ok(device) => device,
        Err(DeviceError::Absent(why)) => {
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
