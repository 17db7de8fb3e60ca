//! A recorded step: run any number of times, with what its buffers hold then.

use adapterd::device::{Accelerator, DeviceError, Part};
use adapterd::kernels::cuda::Rows;
use adapterd::kernels::cuda::norm::{Norm, rms_norm};
use adapterd::kernels::cuda::segmented::{self, Room, Segment, Table};
use emulator::{Build, Order};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::cases::{Low, assert_close, cut, numbers, place, read, send, write};
use crate::emulated::Emulated;
use crate::host;

#[test]
fn a_recorded_step_serves_other_rows_and_other_adapters_at_each_replay() {
    for build in [Build::Plain, Build::Checked] {
        let device = Emulated::new(build, Order::Rush, 3);
        replay_a_step(&device).unwrap_or_else(|error| panic!("{build:?}: {error}"));
    }
}

/// A norm, and what adapters add to its result: one step of a layer, for up to `ROWS` rows.
pub fn replay_a_step(device: &dyn Accelerator) -> Result<(), DeviceError> {
    const ROWS: usize = 40;
    let layer = (48, 80);
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    let all = [3, 16, 40].map(|rank| Low::random(rng, rank, layer, rank == 16));
    let (slab, placed) = place(device, &all, layer)?;
    let room = Room {
        rows: ROWS,
        tiles: 12,
        rank: 40,
    };
    let table = Table::with_room(device, &slab, room, layer)?;
    let w = numbers(rng, layer.0);
    let weight = send(device, &w)?;
    let [x, normed, y] =
        [layer.0, layer.0, layer.1].map(|width| device.alloc(Part::Scratch, ROWS * width * 4));
    let (x, normed, y) = (x?, normed?, y?);
    let rows = |buffer, width| Rows {
        buffer,
        rows: ROWS,
        width,
    };
    let recording = device.record(&mut |device| {
        let norm = Norm {
            weight: &weight,
            width: layer.0,
            eps: 1e-6,
        };
        rms_norm(device, rows(&x, layer.0), norm, rows(&normed, layer.0))?;
        segmented::add(device, rows(&normed, layer.0), &table, rows(&y, layer.1))
    })?;
    for round in 0..4 {
        let (x_now, mut y_now) = (numbers(rng, ROWS * layer.0), numbers(rng, ROWS * layer.1));
        write(device, &x, &x_now)?;
        write(device, &y, &y_now)?;
        // The last round has no adapters at all.
        let count = [3, 2, 1, 0][round];
        let cuts = loop {
            let (cuts, rows) = cut(rng, count);
            if rows <= ROWS {
                break cuts;
            }
        };
        let segments: Vec<_> = cuts
            .iter()
            .zip(&placed)
            .map(|(rows, factors)| Segment {
                rows: rows.clone(),
                factors,
            })
            .collect();
        table.write(device, &segments)?;
        recording.replay()?;

        let normed = host::rms_norm(&x_now, ROWS, &w, 1e-6);
        let on_host: Vec<_> = cuts
            .into_iter()
            .zip(&all)
            .map(|(rows, low)| (rows, low.factors(layer)))
            .collect();
        host::segmented(&normed, &mut y_now, layer, &on_host);
        assert_close(&read(device, &y)?, &y_now, 1e-4, &format!("replay {round}"));
    }
    Ok(())
}

#[test]
fn recording_runs_nothing_and_keeps_the_buffers_it_needs() -> Result<(), DeviceError> {
    let device = Emulated::checked(1);
    let (x, weight) = (send(&device, &[3.0, 4.0])?, send(&device, &[1.0, 1.0])?);
    let y = send(&device, &[7.0, 7.0])?;
    let rows = |buffer| Rows {
        buffer,
        rows: 1,
        width: 2,
    };
    let norm = Norm {
        weight: &weight,
        width: 2,
        eps: 0.0,
    };
    let recording = device.record(&mut |device| rms_norm(device, rows(&x), norm, rows(&y)))?;
    assert_eq!(read(&device, &y)?, [7.0, 7.0]);
    drop((x, weight));
    assert_eq!(device.live(), 3, "the recording holds them");
    recording.replay()?;
    assert_close(&read(&device, &y)?, &[0.848_528, 1.131_371], 1e-5, "y");
    drop(recording);
    assert_eq!(device.live(), 1);
    Ok(())
}

#[test]
fn only_launches_can_be_recorded_and_a_failed_recording_is_an_error() {
    let device = Emulated::checked(1);
    let buffer = device.alloc(Part::Kv, 4).unwrap();
    let refused = |done: Result<(), DeviceError>| {
        assert!(matches!(done, Err(DeviceError::Unrecorded(_))), "{done:?}");
        done
    };
    let mut calls = 0;
    let done = device.record(&mut |recorder| {
        calls += 1;
        assert_eq!(recorder.name(), device.name());
        refused(recorder.upload(&buffer, 0, &[0])).ok();
        refused(recorder.download(&buffer, 0, &mut [0])).ok();
        refused(recorder.alloc(Part::Kv, 1).map(|_| ())).ok();
        refused(recorder.record(&mut |_| Ok(())).map(|_| ()))
    });
    assert!(matches!(done, Err(DeviceError::Unrecorded("a recording"))));
    assert_eq!(calls, 1);
}
