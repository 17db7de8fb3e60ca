//! The seam itself: memory that is counted, and refusals that name what is wrong.

use adapterd::device::{Accelerator, Arg, DeviceError, Launch, NoRoom, Part};
use adapterd::kernels::cuda::Rows;
use adapterd::kernels::cuda::norm::{Norm, rms_norm};
use adapterd::kernels::cuda::q8_0::{Layer, Rounded, Weight, product, round};
use adapterd::kernels::cuda::segmented::{self, Placed, Room, Segment, Table};
use emulator::{Build, Order};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::cases::{Low, place};
use crate::emulated::Emulated;

#[test]
fn buffers_are_counted_by_part_and_give_themselves_back() {
    let device = Emulated::with_limit(Build::Plain, Order::Forward, 1, 1000);
    let base = device.alloc(Part::Base, 600).unwrap();
    let kv = device.alloc(Part::Kv, 300).unwrap();
    let spent: Vec<_> = device
        .budget()
        .totals()
        .into_iter()
        .filter(|(_, n)| *n > 0)
        .collect();
    assert_eq!(spent, [(Part::Base, 600), (Part::Kv, 300)]);
    let refusal = NoRoom {
        part: Part::Scratch,
        asked: 101,
        left: 100,
        limit: 1000,
    };
    let found = device.alloc(Part::Scratch, 101).unwrap_err();
    assert_eq!(found, DeviceError::NoRoom(refusal));
    drop(base);
    assert_eq!((device.budget().left(), device.live()), (700, 1));
    device.alloc(Part::Scratch, 700).unwrap();
    drop(kv);
    assert_eq!((device.budget().left(), device.live()), (1000, 0));
}

#[test]
fn copies_stay_within_a_buffer_and_what_is_copied_comes_back() {
    let device = Emulated::checked(1);
    let buffer = device.alloc(Part::Kv, 10).unwrap();
    device.upload(&buffer, 0, &[1; 10]).unwrap();
    device.upload(&buffer, 4, &[2, 3]).unwrap();
    let mut found = [0; 5];
    device.download(&buffer, 3, &mut found).unwrap();
    assert_eq!(found, [1, 2, 3, 1, 1]);
    let error = device.upload(&buffer, 6, &[0; 5]).unwrap_err();
    let bounds = DeviceError::Bounds {
        at: 6,
        bytes: 5,
        size: 10,
    };
    assert_eq!(error, bounds);
    assert!(device.download(&buffer, 10, &mut found[..1]).is_err());
}

#[test]
fn buffers_of_another_device_are_refused_everywhere() {
    let (here, there) = (Emulated::checked(1), Emulated::checked(2));
    let (own, foreign) = (
        here.alloc(Part::Kv, 4).unwrap(),
        there.alloc(Part::Kv, 4).unwrap(),
    );
    let refused = |done: Result<(), DeviceError>| {
        assert!(
            matches!(done, Err(DeviceError::Foreign { bytes: 4, .. })),
            "{done:?}"
        );
    };
    refused(here.upload(&foreign, 0, &[0; 4]));
    refused(here.download(&foreign, 0, &mut [0; 4]));
    let launch = Launch {
        kernel: "probe_copy",
        grid: [1, 1, 1],
        block: [32, 1, 1],
        shared: 0,
        args: &[Arg::Buffer(&own), Arg::Buffer(&foreign), Arg::U32(0)],
    };
    refused(here.launch(&launch));
    refused(
        here.record(&mut |device| device.launch(&launch))
            .map(|_| ()),
    );
}

#[test]
fn a_launch_fails_with_the_kernels_name() {
    let device = Emulated::checked(1);
    let buffer = device.alloc(Part::Kv, 4).unwrap();
    let launch = |kernel, args: &[Arg<'_>]| {
        device.launch(&Launch {
            kernel,
            grid: [1, 1, 1],
            block: [32, 1, 1],
            shared: 0,
            args,
        })
    };
    assert_eq!(launch("none", &[]), Err(DeviceError::NoKernel("none")));
    let error = launch("probe_copy", &[Arg::Buffer(&buffer)]).unwrap_err();
    assert!(
        matches!(
            error,
            DeviceError::Launch {
                kernel: "probe_copy",
                ..
            }
        ),
        "{error}"
    );
    let args = [Arg::Buffer(&buffer), Arg::Null, Arg::U32(1)];
    let error = launch("probe_copy", &args).unwrap_err();
    assert!(
        matches!(
            error,
            DeviceError::Fault {
                kernel: "probe_copy",
                ..
            }
        ),
        "{error}"
    );
}

#[track_caller]
fn assert_operand<T: std::fmt::Debug>(done: Result<T, DeviceError>, wanted: &str) {
    match done {
        Err(DeviceError::Operand { operand, .. }) => assert_eq!(operand, wanted),
        other => panic!("expected {wanted} to be refused, found {other:?}"),
    }
}

#[test]
fn a_norm_names_the_operand_that_does_not_fit() {
    let device = Emulated::checked(1);
    let [x, y, weight] = [64 * 4, 64 * 4, 16 * 4].map(|n| device.alloc(Part::Kv, n).unwrap());
    let rows = |buffer, rows, width| Rows {
        buffer,
        rows,
        width,
    };
    let norm = |width| Norm {
        weight: &weight,
        width,
        eps: 1e-5,
    };
    let run = |x, norm, y| rms_norm(&device, x, norm, y);
    assert_operand(run(rows(&x, 5, 16), norm(16), rows(&y, 5, 16)), "x");
    assert_operand(run(rows(&x, 4, 16), norm(16), rows(&y, 5, 16)), "y");
    assert_operand(run(rows(&x, 4, 16), norm(16), rows(&y, 3, 16)), "y");
    assert_operand(run(rows(&x, 4, 16), norm(16), rows(&y, 4, 8)), "y");
    assert_operand(run(rows(&x, 4, 16), norm(16), rows(&x, 4, 16)), "y");
    assert_operand(run(rows(&x, 2, 32), norm(32), rows(&y, 2, 32)), "weight");
    assert_operand(run(rows(&x, 4, 16), norm(5), rows(&y, 4, 16)), "x");
    assert_operand(
        run(rows(&x, usize::MAX, 16), norm(16), rows(&y, 4, 16)),
        "x",
    );
    assert_eq!(run(rows(&x, 0, 16), norm(16), rows(&y, 0, 16)), Ok(()));
}

#[test]
fn a_product_names_the_operand_that_does_not_fit() {
    let device = Emulated::checked(1);
    let upload = |stored: usize, dims| Weight::upload(&device, Part::Base, &vec![0; stored], dims);
    assert_operand(upload(34, (1, 33)), "weight");
    assert_operand(upload(34, (2, 32)), "weight");
    assert_operand(upload(34, (usize::MAX, 32)), "weight");
    let weight = upload(34 * 4, (2, 64)).unwrap();
    assert_eq!(weight.dims(), (2, 64));
    assert_operand(Rounded::with_room(&device, 3, 40), "x");
    let rounded = Rounded::with_room(&device, 3, 64).unwrap();
    let [x, y, bias] = [4 * 64 * 4, 4 * 2 * 4, 4].map(|n| device.alloc(Part::Kv, n).unwrap());
    let rows = |buffer, rows, width| Rows {
        buffer,
        rows,
        width,
    };
    assert_operand(round(&device, rows(&x, 4, 64), &rounded), "x");
    assert_operand(round(&device, rows(&x, 3, 32), &rounded), "x");
    let layer = Layer {
        weight: &weight,
        bias: None,
    };
    assert_operand(product(&device, &rounded, layer, rows(&y, 4, 2)), "y");
    assert_operand(product(&device, &rounded, layer, rows(&y, 3, 3)), "y");
    let narrow = Rounded::with_room(&device, 3, 32).unwrap();
    assert_operand(product(&device, &narrow, layer, rows(&y, 3, 2)), "x");
    let biased = Layer {
        bias: Some(&bias),
        ..layer
    };
    assert_operand(product(&device, &rounded, biased, rows(&y, 3, 2)), "bias");
    assert_eq!(product(&device, &rounded, layer, rows(&y, 0, 2)), Ok(()));
}

#[test]
fn segments_that_do_not_fit_are_refused_by_name() {
    let (device, layer) = (Emulated::checked(1), (24, 16));
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let all = [4, 9].map(|rank| Low::random(rng, rank, layer, rank == 4));
    let (slab, placed) = place(&device, &all, layer).unwrap();
    let (other, elsewhere) = place(&device, &all[..1], layer).unwrap();
    let factors = all[0].factors(layer);
    assert_operand(Placed::upload(&device, &slab, 8, &factors), "slab");
    let wrong = adapterd::kernels::segmented::Factors { rank: 5, ..factors };
    assert_operand(Placed::upload(&device, &slab, 0, &wrong), "factors");
    let past = Placed::upload(&device, &other, 16, &factors).unwrap_err();
    assert!(matches!(past, DeviceError::Bounds { .. }), "{past}");

    let room = Room {
        rows: 20,
        tiles: 2,
        rank: 8,
    };
    let table = Table::with_room(&device, &slab, room, layer).unwrap();
    let write = |segments: &[(std::ops::Range<usize>, &Placed)]| {
        let segments: Vec<_> = segments
            .iter()
            .map(|(rows, factors)| Segment {
                rows: rows.clone(),
                factors,
            })
            .collect();
        table.write(&device, &segments)
    };
    let [low, high] = [&placed[0], &placed[1]];
    assert_eq!(write(&[(0..8, low), (8..16, low)]), Ok(()));
    assert_operand(write(&[(0..9, low), (8..10, low)]), "segments");
    assert_operand(write(&[(8..9, low), (0..8, low)]), "segments");
    assert_operand(write(&[(18..21, low)]), "segments");
    assert_operand(write(&[(0..17, low)]), "segments");
    assert_operand(write(&[(0..1, high)]), "factors");
    assert_operand(write(&[(0..1, &elsewhere[0])]), "factors");
    let narrow = Table::with_room(&device, &slab, room, (24, 8)).unwrap();
    let segment = Segment {
        rows: 0..1,
        factors: low,
    };
    assert_operand(narrow.write(&device, &[segment]), "factors");

    let [x, y] = [20 * 24 * 4, 20 * 16 * 4].map(|n| device.alloc(Part::Kv, n).unwrap());
    let rows = |buffer, rows, width| Rows {
        buffer,
        rows,
        width,
    };
    let add = |x, y| segmented::add(&device, x, &table, y);
    assert_operand(add(rows(&x, 19, 24), rows(&y, 20, 16)), "x");
    assert_operand(add(rows(&x, 20, 24), rows(&y, 20, 15)), "y");
    assert_operand(add(rows(&x, 20, 24), rows(&y, 21, 16)), "y");
}
