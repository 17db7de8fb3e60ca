//! Cases of the operations: each runs on a device and on the host, and compares.

use std::ops::Range;

use adapterd::device::{Accelerator, Buffer, DeviceError, Part};
use adapterd::kernels::cuda::Rows;
use adapterd::kernels::cuda::norm::{Norm, rms_norm};
use adapterd::kernels::cuda::q8_0::{Layer, Rounded, Weight, product, round};
use adapterd::kernels::cuda::segmented::{self, Placed, Room, Segment, Table};
use adapterd::kernels::segmented::{Factors, Matrix};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::host;

pub fn numbers(rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

pub fn send(device: &dyn Accelerator, values: &[f32]) -> Result<Buffer, DeviceError> {
    let buffer = device.alloc(Part::Scratch, size_of_val(values))?;
    write(device, &buffer, values)?;
    Ok(buffer)
}

pub fn write(device: &dyn Accelerator, to: &Buffer, values: &[f32]) -> Result<(), DeviceError> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    device.upload(to, 0, &bytes)
}

pub fn read(device: &dyn Accelerator, from: &Buffer) -> Result<Vec<f32>, DeviceError> {
    let mut bytes = vec![0; from.bytes()];
    device.download(from, 0, &mut bytes)?;
    let (values, _) = bytes.as_chunks::<4>();
    Ok(values
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect())
}

/// |found − wanted| ≤ tolerance · max(1, |wanted|), and not a number where that is wanted.
#[track_caller]
pub fn assert_close(found: &[f32], wanted: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let close = (found - wanted).abs() <= tolerance * wanted.abs().max(1.0);
        let both_nan = found.is_nan() && wanted.is_nan();
        assert!(
            close || both_nan,
            "{what}: number {at} is {found}, not {wanted}"
        );
    }
}

/// Shapes that ask for something: the smallest, whole warps and blocks, and one more or less than those.
const NORMS: [(usize, usize, usize); 7] = [
    (1, 1, 1),
    (3, 1, 33),
    (2, 4, 6),
    (5, 1, 256),
    (2, 1, 8195),
    (1, 2, 132),
    (9, 3, 64),
];
const PRODUCTS: [(usize, usize, usize); 11] = [
    (1, 1, 32),
    (1, 7, 1056),
    (2, 64, 96),
    (3, 5, 64),
    (4, 9, 512),
    (7, 6, 544),
    (8, 33, 128),
    (13, 4, 64),
    (17, 65, 64),
    (64, 64, 32),
    (70, 130, 96),
];
/// (inputs, outputs)
const LAYERS: [(usize, usize); 6] = [
    (1, 1),
    (33, 5),
    (256, 128),
    (257, 129),
    (600, 40),
    (48, 300),
];

/// All cases of the operations that one file of kernels serves, and some of random shape.
pub fn run(file: &str, device: &dyn Accelerator, seed: u64) -> Result<(), DeviceError> {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    match file {
        "norm" => {
            let random = [(); 4].map(|()| {
                let [rows, heads] = [(); 2].map(|()| rng.random_range(1..6));
                (rows, heads, rng.random_range(1..400))
            });
            NORMS
                .iter()
                .chain(&random)
                .try_for_each(|shape| norm(device, rng, *shape))
        }
        "q8_0" => {
            let random = [(); 4].map(|()| {
                let (m, n) = (rng.random_range(1..80), rng.random_range(1..90));
                (m, n, 32 * rng.random_range(1..8))
            });
            PRODUCTS
                .iter()
                .chain(&random)
                .try_for_each(|shape| multiply(device, rng, *shape))
        }
        "segmented" => {
            let random = [(); 4].map(|()| (rng.random_range(1..300), rng.random_range(1..300)));
            LAYERS
                .iter()
                .chain(&random)
                .try_for_each(|shape| add_segments(device, rng, *shape))
        }
        other => panic!("no cases for {other}"),
    }
}

fn norm(
    device: &dyn Accelerator,
    rng: &mut ChaCha8Rng,
    (rows, heads, width): (usize, usize, usize),
) -> Result<(), DeviceError> {
    let mut x = numbers(rng, rows * heads * width);
    // What is not finite, or overflows, spoils its own run and no other.
    if rows > 1 && rng.random_bool(0.5) {
        let at = rng.random_range(0..x.len());
        x[at] = *[f32::NAN, f32::INFINITY, -1e30].get(at % 3).unwrap();
    }
    let (w, eps) = (numbers(rng, width), 1e-5);
    let (weight, from) = (send(device, &w)?, send(device, &x)?);
    let to = device.alloc(Part::Scratch, from.bytes())?;
    let rows_of = |buffer| Rows {
        buffer,
        rows,
        width: heads * width,
    };
    let norm = Norm {
        weight: &weight,
        width,
        eps,
    };
    rms_norm(device, rows_of(&from), norm, rows_of(&to))?;
    let wanted = host::rms_norm(&x, rows, &w, eps);
    let what = format!("norm of {rows} rows of {heads} × {width}");
    assert_close(&read(device, &to)?, &wanted, 5e-6, &what);
    Ok(())
}

fn multiply(
    device: &dyn Accelerator,
    rng: &mut ChaCha8Rng,
    (m, n, k): (usize, usize, usize),
) -> Result<(), DeviceError> {
    let (mut x, w) = (numbers(rng, m * k), numbers(rng, n * k));
    // Blocks of zeros, of numbers too small to be rounded, and one that is not finite.
    x[..32].fill(*[0.0, 1e-38, 0.5].get(m % 3).unwrap());
    if m > 4 {
        x[k] = f32::INFINITY;
    }
    let bias = (n % 2 == 1).then(|| numbers(rng, n));
    let weight = Weight::upload(device, Part::Base, &host::stored_q8_0(&w, n), (n, k))?;
    let sent = bias.as_deref().map(|bias| send(device, bias)).transpose()?;
    let (from, to) = (send(device, &x)?, device.alloc(Part::Scratch, m * n * 4)?);
    let rounded = Rounded::with_room(device, m, k)?;
    let x_rows = Rows {
        buffer: &from,
        rows: m,
        width: k,
    };
    round(device, x_rows, &rounded)?;
    let layer = Layer {
        weight: &weight,
        bias: sent.as_ref(),
    };
    let y = Rows {
        buffer: &to,
        rows: m,
        width: n,
    };
    product(device, &rounded, layer, y)?;
    let wanted = host::product(&x, m, &w, n, bias.as_deref());
    let what = format!("q8_0 product [{m}, {k}] × [{n}, {k}]");
    // Far less than one step of what x is rounded to: the same whole numbers are added.
    assert_close(&read(device, &to)?, &wanted, 5e-5, &what);
    Ok(())
}

/// The numbers of one adapter's factors.
pub struct Low {
    rank: usize,
    scale: f32,
    a: Vec<[u8; 4]>,
    b: Vec<[u8; 4]>,
    short: Option<[Vec<[u8; 2]>; 2]>,
}

impl Low {
    pub fn random(
        rng: &mut ChaCha8Rng,
        rank: usize,
        (inputs, outputs): (usize, usize),
        short: bool,
    ) -> Self {
        let [a, b] = [rank * inputs, rank * outputs].map(|count| numbers(rng, count));
        let halves = |values: &[f32]| {
            let stored = values.iter().map(|v| half::bf16::from_f32(*v));
            stored.map(|v| v.to_le_bytes()).collect()
        };
        let words = |values: &[f32]| values.iter().map(|v| v.to_le_bytes()).collect();
        Self {
            rank,
            scale: rng.random_range(0.1..2.0),
            short: short.then(|| [halves(&a), halves(&b)]),
            a: words(&a),
            b: words(&b),
        }
    }

    pub fn factors(&self, (inputs, outputs): (usize, usize)) -> Factors<'_> {
        let (a, b) = match &self.short {
            Some([a, b]) => (Matrix::Bf16(a), Matrix::Bf16(b)),
            None => (Matrix::F32(&self.a), Matrix::F32(&self.b)),
        };
        Factors {
            rank: self.rank,
            inputs,
            outputs,
            scale: self.scale,
            a,
            b,
        }
    }
}

/// Places all of them in one slab.
pub fn place(
    device: &dyn Accelerator,
    all: &[Low],
    layer: (usize, usize),
) -> Result<(Buffer, Vec<Placed>), DeviceError> {
    let bytes = all
        .iter()
        .map(|low| segmented::bytes_of(&low.factors(layer)))
        .sum();
    let slab = device.alloc(Part::Adapters, bytes)?;
    let mut at = 0;
    let mut placed = Vec::new();
    for low in all {
        let one = Placed::upload(device, &slab, at, &low.factors(layer))?;
        at = one.end();
        placed.push(one);
    }
    assert_eq!(at, bytes, "the slab is full");
    Ok((slab, placed))
}

/// Some rows for each adapter in turn, with and without gaps; the last segment ends with the batch.
pub fn cut(rng: &mut ChaCha8Rng, adapters: usize) -> (Vec<Range<usize>>, usize) {
    let mut rows = 0;
    let segments = (0..adapters).map(|_| {
        let start = rows + rng.random_range(0..3);
        rows = start + rng.random_range(0..20);
        start..rows
    });
    (segments.collect(), rows)
}

fn add_segments(
    device: &dyn Accelerator,
    rng: &mut ChaCha8Rng,
    layer: (usize, usize),
) -> Result<(), DeviceError> {
    // A rank of one block of threads, one of more than is staged at a time, and any others.
    let ranks = [
        8,
        rng.random_range(65..80),
        rng.random_range(1..20),
        rng.random_range(1..70),
    ];
    let all = ranks.map(|rank| {
        let short = rng.random_bool(0.5);
        Low::random(rng, rank, layer, short)
    });
    let (slab, placed) = place(device, &all, layer)?;
    let (cuts, rows) = cut(rng, all.len());
    let rows = rows.max(1);
    let tiles = cuts.iter().map(|cut| cut.len().div_ceil(8)).sum::<usize>();
    let room = Room {
        rows,
        tiles: tiles + rng.random_range(0..3),
        rank: 80,
    };
    let (x, mut y) = (numbers(rng, rows * layer.0), numbers(rng, rows * layer.1));
    let table = Table::with_room(device, &slab, room, layer)?;
    let segments: Vec<_> = cuts
        .iter()
        .zip(&placed)
        .map(|(rows, factors)| Segment {
            rows: rows.clone(),
            factors,
        })
        .collect();
    table.write(device, &segments)?;
    let (from, to) = (send(device, &x)?, send(device, &y)?);
    let [x_rows, y_rows] = [(&from, layer.0), (&to, layer.1)].map(|(buffer, width)| Rows {
        buffer,
        rows,
        width,
    });
    segmented::add(device, x_rows, &table, y_rows)?;
    let on_host: Vec<_> = cuts
        .into_iter()
        .zip(&all)
        .map(|(rows, low)| (rows, low.factors(layer)))
        .collect();
    host::segmented(&x, &mut y, layer, &on_host);
    let what = format!("segments of {rows} rows, {layer:?}");
    assert_close(&read(device, &to)?, &y, 1e-4, &what);
    Ok(())
}
