//! The emulator itself, by kernels that are wrong on purpose (`tests/emulator/c/probes.cu`).

use emulator::{Build, Device, Failure, Order, Sizes, Value};

/// One block of so many threads.
fn block(threads: u32, shared: u32) -> Sizes {
    Sizes {
        grid: [1, 1, 1],
        block: [threads, 1, 1],
        shared,
    }
}

fn checked() -> Device {
    Device::new(Build::Checked, Order::Random, 5)
}

#[track_caller]
fn assert_fault(done: Result<(), Failure>, says: &str) {
    match done {
        Err(Failure::Fault(report)) => assert!(report.contains(says), "{report}"),
        other => panic!("expected `{says}`, found {other:?}"),
    }
}

fn numbers(device: &Device, address: u64, count: usize) -> Vec<f32> {
    let mut bytes = vec![0; 4 * count];
    assert!(device.read(address, 0, &mut bytes));
    let (values, _) = bytes.as_chunks::<4>();
    values.iter().map(|v| f32::from_le_bytes(*v)).collect()
}

#[test]
fn a_barrier_that_not_all_reach_is_an_error_in_every_build() {
    for build in [Build::Plain, Build::Checked] {
        for order in Order::ALL {
            let device = Device::new(build, order, 5);
            let run = |kernel, some| device.launch(kernel, block(64, 0), &[Value::U32(some)]);
            assert_fault(run("probe_uneven_barrier", 40), "has ended");
            assert_eq!(run("probe_uneven_barrier", 64), Ok(()));
            assert_eq!(run("probe_uneven_barrier", 0), Ok(()));
            assert_fault(
                run("probe_two_barriers", 32),
                "waits at the barrier of line",
            );
        }
    }
}

#[test]
fn a_shuffle_needs_its_lanes_and_reads_no_other() {
    for order in Order::ALL {
        let device = Device::new(Build::Plain, order, 5);
        let y = device.alloc(64 * 4).unwrap();
        let some = [Value::Address(y), Value::U32(20)];
        let done = device.launch("probe_shuffle_of_some", block(64, 0), &some);
        // Which comes first is a matter of order: the lanes that wait, or those that end.
        assert_fault(done, "a warp operation at line");
        let done = device.launch("probe_shuffle_out_of_mask", block(64, 0), &some[..1]);
        assert_fault(done, "lane 15 the value of lane 16");
    }
}

#[test]
fn shuffles_give_what_their_lanes_say() {
    for order in Order::ALL {
        let device = Device::new(Build::Checked, order, 9);
        let y = device.alloc(4 * 64 * 4).unwrap();
        let done = device.launch("probe_shuffles", block(64, 0), &[Value::Address(y)]);
        assert_eq!(done, Ok(()));
        let found = numbers(&device, y, 4 * 64);
        for id in 0..64usize {
            let (lane, first) = (id % 32, id / 32 * 32);
            let up = if lane >= 3 { id - 3 } else { id };
            let down = if lane + 3 < 32 { id + 3 } else { id };
            let wanted = [first + 5, up, down, first + (lane ^ 3)];
            for (kind, wanted) in wanted.into_iter().enumerate() {
                assert_eq!(found[64 * kind + id], wanted as f32, "{kind}, thread {id}");
            }
        }
    }
}

#[test]
fn a_warps_barrier_orders_its_warp_and_no_other() {
    let device = checked();
    let y = device.alloc(64 * 4).unwrap();
    let run = |kernel, values: &[Value]| device.launch(kernel, block(64, 256), values);
    let exchange = |ordered| run("probe_exchange", &[Value::Address(y), Value::U32(ordered)]);
    assert_eq!(exchange(1), Ok(()));
    assert_eq!(numbers(&device, y, 3), [1.0, 0.0, 3.0]);
    match exchange(0) {
        Err(Failure::Fault(report)) => assert!(
            report.contains("no barrier") || report.contains("nothing has written"),
            "{report}"
        ),
        other => panic!("{other:?}"),
    }
    let done = run("probe_exchange_of_warps", &[Value::Address(y)]);
    assert!(matches!(done, Err(Failure::Fault(_))), "{done:?}");
}

#[test]
fn shared_memory_ends_where_the_launch_says() {
    let device = checked();
    let y = device.alloc(64 * 4).unwrap();
    let values = [Value::Address(y), Value::U32(1)];
    let done = device.launch("probe_exchange", block(64, 252), &values);
    assert_fault(done, "of shared memory, which has 252");
}

#[test]
fn blocks_of_a_launch_share_nothing() {
    let device = checked();
    let y = device.alloc(8 * 4).unwrap();
    let sizes = Sizes {
        grid: [3, 1, 1],
        ..block(32, 0)
    };
    for kernel in ["probe_blocks_meet", "probe_blocks_follow"] {
        let done = device.launch(kernel, sizes, &[Value::Address(y)]);
        assert!(matches!(done, Err(Failure::Fault(_))), "{kernel}: {done:?}");
    }
    // Launches follow one another, so they may.
    for _ in 0..2 {
        let done = device.launch("probe_blocks_meet", block(32, 0), &[Value::Address(y)]);
        assert_eq!(done, Ok(()));
    }
}

#[test]
fn memory_is_checked_to_the_byte_and_for_what_was_never_written() {
    let device = checked();
    let (x, y) = (device.alloc(399).unwrap(), device.alloc(400).unwrap());
    let sizes = Sizes {
        grid: [2, 1, 1],
        ..block(64, 0)
    };
    let copy = |count| {
        let values = [Value::Address(x), Value::Address(y), Value::U32(count)];
        device.launch("probe_copy", sizes, &values)
    };
    assert_fault(copy(1), "byte 0 of x, which nothing has written");
    assert!(device.write(x, 0, &[7; 399]));
    assert_eq!(copy(99), Ok(()));
    assert_fault(copy(100), "read of 4 bytes at byte 396 of x, which has 399");
    assert!(!device.write(x, 300, &[7; 100]), "a copy past the end");
    device.free(x);
    let values = [Value::Address(x), Value::Address(y), Value::U32(1)];
    let done = device.launch("probe_copy", sizes, &values);
    assert!(matches!(done, Err(Failure::Refused(_))), "{done:?}");
    assert_eq!(device.live(), 1);
}

#[test]
fn an_index_past_an_array_is_caught_though_shared_memory_goes_on() {
    let device = checked();
    let y = device.alloc(4).unwrap();
    // One thread, so that nothing races.
    let index = |at| {
        let values = [Value::Address(y), Value::U32(at)];
        device.launch("probe_index", block(32, 0), &values)
    };
    assert_fault(index(8), "index 8 is out of an array's bounds");
}

#[test]
fn a_launch_that_the_kernel_does_not_take_is_refused() {
    let device = checked();
    let y = device.alloc(4).unwrap();
    let good = [Value::Address(y)];
    let run = |kernel, sizes, values: &[Value]| device.launch(kernel, sizes, values);
    assert_eq!(run("no_such", block(32, 0), &good), Err(Failure::NoKernel));
    let too_many = Sizes {
        grid: [1, 65_536, 1],
        ..block(32, 0)
    };
    for (sizes, values) in [
        (block(33, 0), &good[..]),
        (block(96, 0), &good),
        (block(0, 0), &good),
        (block(32, 300 << 10), &good),
        (too_many, &good),
        (block(32, 0), &[]),
        (block(32, 0), &[Value::U32(1)]),
    ] {
        let done = run("probe_blocks_meet", sizes, values);
        assert!(
            matches!(done, Err(Failure::Refused(_))),
            "{sizes:?}: {done:?}"
        );
    }
}
