//! The operations on the emulated device agree with the host's arms.

use std::sync::Arc;

use adapterd::device::{Accelerator, Array, Device, Part};
use adapterd::kernels::activation::SwiGlu;
use adapterd::kernels::norm::RmsNorm;
use adapterd::kernels::op::{Run, Value};
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

#[test]
fn a_forward_runs_where_its_arrays_lie_and_says_what_has_no_arm_there() {
    let device: Arc<dyn Accelerator> = Arc::new(Emulated::checked(1));
    let on = Device::Accelerator(device.clone());
    let values = (0..3 * 64).map(|at| (at as f32 * 0.37).sin()).collect();
    let x = Array::new(values, (3, 64)).unwrap();
    let w = Array::row((0..32).map(|at| at as f32 * 0.1 - 1.0).collect());
    let norm = RmsNorm { eps: 1e-5 };
    let wanted = Run::host()
        .op(norm, &[&x.clone().into(), &w.clone().into()])
        .unwrap();
    let [there_x, there_w] =
        [&x, &w].map(|array| Value::from(array.upload(&*device, Part::Activations).unwrap()));
    let found = Run::on(&on).op(norm, &[&there_x, &there_w]).unwrap();
    let found = found.download(&*device).unwrap();
    cases::assert_close(found.values(), wanted.values(), 2e-6, "norm");
    // Arrays of another device are refused, not read.
    let error = Run::on(&on).op(norm, &[&x.into(), &there_w]).unwrap_err();
    assert!(error.to_string().contains("does not lie on"), "{error}");
    let error = Run::on(&on).op(SwiGlu, &[&there_x, &there_x]).unwrap_err();
    assert!(error.to_string().contains("no arm for emulated"), "{error}");
}
