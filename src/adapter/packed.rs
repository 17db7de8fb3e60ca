//! packed: an adapter in a file as it lies in memory, so that loading it is reading it.
//!
//! Such a file is a copy: it can be made again from the adapter's folder at any time, and whatever about it is not as
//! expected only means that this has to be done. Nothing of it is used before its checksum has been compared.
//!
//! `MAGIC`, length of the header (u32, little-endian), header (JSON), numbers, BLAKE3 of all of that.

use std::fmt;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::catalogue::{CATALOGUE, Parts};
use super::{Adapter, Fit, Scales, Site, SiteMap, SiteShape};
use crate::domain::Generation;
use crate::kernels::pool;
use crate::kernels::segmented::{Form, LAYOUT, LowRank, Numbers, Precision};

const MAGIC: &[u8; 16] = b"adapterd packed\n";
/// Products of 7 layers in each of 200 blocks take a tenth of it.
const MAX_HEADER: usize = 2 << 20;
/// Bytes that are hashed while they are still in the processor's cache.
const SLICE: usize = 256 << 10;
const CHECKSUM: usize = 32;

/// What a file was made from, and for.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    pub generation: Generation,
    /// Anything that changes when the adapter's folder does.
    pub stamp: &'a str,
}

/// Why a file is of no use here.
#[derive(Debug)]
pub enum Unusable {
    Io(io::Error),
    /// Made from, for or by something else.
    Stale(&'static str),
    Damaged,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Stale(what) => write!(f, "it has another {what}"),
            Self::Damaged => f.write_str("it is damaged"),
        }
    }
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    #[serde(flatten)]
    made: Made,
    kind: String,
    rank: usize,
    products: Vec<Product>,
    /// Vectors that lie before the products' numbers, f32 each.
    #[serde(default)]
    scales: Vec<Scaled>,
}

/// The scales of one layer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Scaled {
    layer: usize,
    module: String,
    input: bool,
    #[serde(default)]
    around_bias: bool,
    output: bool,
    #[serde(default)]
    shift: bool,
}

impl Scaled {
    fn of(site: Site, scales: &Scales) -> Self {
        Self {
            layer: site.layer,
            module: site.module.name().to_owned(),
            input: scales.input.is_some(),
            around_bias: scales.around_bias.is_some(),
            output: scales.output.is_some(),
            shift: scales.shift.is_some(),
        }
    }

    /// Where they belong; `None` where the base has no such layer.
    fn placed(&self, fit: &Fit<'_>) -> Option<SiteShape> {
        let mut shapes = fit.sites.iter().copied();
        shapes.find(|at| at.site.layer == self.layer && at.site.module.name() == self.module)
    }
}

/// What has to be the same when the file is read.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Made {
    layout: u32,
    big_endian: bool,
    precision: String,
    generation: Generation,
    base_digest: [u8; 32],
    stamp: String,
}

impl Made {
    fn of(origin: Origin<'_>, fit: &Fit<'_>) -> Self {
        let precision = match fit.precision {
            Precision::Exact => "exact",
            Precision::Bf16 => "bf16",
        };
        Self {
            layout: LAYOUT,
            big_endian: cfg!(target_endian = "big"),
            precision: precision.to_owned(),
            generation: origin.generation,
            base_digest: fit.base_digest,
            stamp: origin.stamp.to_owned(),
        }
    }

    /// The first thing in which the two differ.
    fn differs_in(&self, other: &Self) -> Option<&'static str> {
        let same = [
            (self.generation == other.generation, "generation"),
            (self.stamp == other.stamp, "source"),
            (self.base_digest == other.base_digest, "base"),
            (self.precision == other.precision, "precision"),
            (self.layout == other.layout, "layout"),
            (self.big_endian == other.big_endian, "order of bytes"),
        ];
        let differs = same.into_iter().find(|(same, _)| !same);
        differs.map(|(_, what)| what)
    }
}

/// One low-rank product.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Product {
    layer: usize,
    /// The last part of the layer's path.
    module: String,
    rank: usize,
    inputs: usize,
    outputs: usize,
    /// The bits of an f32.
    scale: u32,
    numbers: Numbers,
}

impl Product {
    fn of(site: Site, weights: &LowRank) -> Self {
        let form = weights.form();
        Self {
            layer: site.layer,
            module: site.module.name().to_owned(),
            rank: form.rank,
            inputs: form.inputs,
            outputs: form.outputs,
            scale: form.scale.to_bits(),
            numbers: form.numbers,
        }
    }

    /// `None` where the base has no such layer, or no product of that rank is served.
    fn placed(&self, fit: &Fit<'_>) -> Option<(Site, Form)> {
        let shape = fit.sites.iter().find(|shape| {
            shape.site.layer == self.layer && shape.site.module.name() == self.module
        })?;
        let fits = (self.inputs, self.outputs) == (shape.inputs, shape.outputs)
            && (1..=fit.max_rank).contains(&self.rank);
        let form = Form {
            rank: self.rank,
            inputs: self.inputs,
            outputs: self.outputs,
            scale: f32::from_bits(self.scale),
            numbers: self.numbers,
        };
        fits.then_some((shape.site, form))
    }
}

/// Writes an adapter that was read under `fit`.
pub fn write(
    adapter: &Adapter,
    stamp: &str,
    fit: &Fit<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let generation = adapter.generation();
    let products = adapter.low_ranks();
    let header = Header {
        made: Made::of(Origin { generation, stamp }, fit),
        kind: adapter.kind().to_owned(),
        rank: adapter.rank(),
        products: products
            .map(|(site, weights)| Product::of(site, weights))
            .collect(),
        scales: adapter
            .all_scales()
            .map(|(site, scales)| Scaled::of(site, scales))
            .collect(),
    };
    let header = serde_json::to_vec(&header)?;
    let length = u32::try_from(header.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut hasher = blake3::Hasher::new();
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        out.write_all(bytes)?;
        pool::give_way();
        Ok::<_, io::Error>(())
    };
    put(MAGIC)?;
    put(&length.to_le_bytes())?;
    put(&header)?;
    for (_, scales) in adapter.all_scales() {
        for factors in scales.all() {
            put(bytemuck::cast_slice(factors))?;
        }
    }
    for (_, weights) in adapter.low_ranks() {
        weights.numbers().chunks(SLICE).try_for_each(&mut put)?;
    }
    out.write_all(hasher.finalize().as_bytes())
}

/// Reads a file of `length` bytes that should have been made from `origin` under `fit`.
pub fn read(
    file: &mut impl Read,
    length: u64,
    origin: Origin<'_>,
    fit: &Fit<'_>,
) -> Result<Adapter, Unusable> {
    let mut file = Hashed {
        file,
        hasher: blake3::Hasher::new(),
    };
    let mut start = [0; MAGIC.len() + 4];
    file.fill(&mut start)?;
    let (magic, size) = start.split_at(MAGIC.len());
    let size = size
        .iter()
        .rev()
        .fold(0, |size, byte| size << 8 | usize::from(*byte));
    if magic != MAGIC || size > MAX_HEADER {
        return Err(Unusable::Damaged);
    }
    let mut header = vec![0; size];
    file.fill(&mut header)?;
    // What it was made for comes first: the rest of a header may have another form in another layout.
    let made: Made = serde_json::from_slice(&header).map_err(|_| Unusable::Damaged)?;
    if let Some(what) = made.differs_in(&Made::of(origin, fit)) {
        return Err(Unusable::Stale(what));
    }
    let header: Header = serde_json::from_slice(&header).map_err(|_| Unusable::Damaged)?;
    let kinds = CATALOGUE.into_iter();
    let kind = kinds
        .map(|kind| kind.name())
        .find(|kind| *kind == header.kind)
        .ok_or(Unusable::Stale("kind"))?;
    let products = header.products.iter();
    let products: Option<Vec<_>> = products.map(|product| product.placed(fit)).collect();
    let (sites, forms): (Vec<_>, Vec<_>) = products
        .ok_or(Unusable::Stale("shape"))?
        .into_iter()
        .unzip();
    let places: Option<Vec<_>> = header
        .scales
        .iter()
        .map(|scaled| scaled.placed(fit))
        .collect();
    let places = places.ok_or(Unusable::Stale("shape"))?;
    let lengths = header.scales.iter().zip(&places).map(|(scaled, at)| {
        [
            scaled.input.then_some(at.inputs),
            scaled.around_bias.then_some(at.outputs),
            scaled.output.then_some(at.outputs),
            scaled.shift.then_some(at.outputs),
        ]
    });
    let lengths: Vec<_> = lengths.collect();
    let count: usize = lengths.iter().flatten().flatten().sum();
    let of_scales = size_of::<f32>() * count;
    let before = start.len() + size + of_scales + CHECKSUM;
    // A file cut off or grown, or whose header asks for more than it has, is refused before memory is taken.
    let rest = length.checked_sub(before as u64).ok_or(Unusable::Damaged)?;
    let mut scales = SiteMap::default();
    for (at, [input, around_bias, output, shift]) in places.iter().zip(lengths) {
        let mut vector = |length: Option<usize>| {
            let Some(length) = length else {
                return Ok(None);
            };
            let mut factors = vec![0f32; length];
            file.fill(bytemuck::cast_slice_mut(&mut factors))?;
            Ok::<_, io::Error>(Some(factors.into()))
        };
        let scale = Scales {
            input: vector(input)?,
            around_bias: vector(around_bias)?,
            output: vector(output)?,
            shift: vector(shift)?,
        };
        scales.insert(at.site, scale);
    }
    let weights = LowRank::restore(&forms, rest, |numbers| {
        numbers
            .chunks_mut(SLICE)
            .try_for_each(|slice| file.fill(slice))?;
        file.check()
    })?;
    let mut low_rank = SiteMap::default();
    for (site, weights) in sites.into_iter().zip(weights.ok_or(Unusable::Damaged)?) {
        low_rank.insert(site, weights);
    }
    let parts = Parts {
        rank: header.rank,
        low_rank,
        scales,
        ..Parts::default()
    };
    Ok(Adapter::new(origin.generation, kind, parts))
}

/// Hashes what it reads.
struct Hashed<'a, R> {
    file: &'a mut R,
    hasher: blake3::Hasher,
}

impl<R: Read> Hashed<'_, R> {
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }

    fn check(&mut self) -> Result<(), Unusable> {
        let mut stored = [0; CHECKSUM];
        self.file.read_exact(&mut stored)?;
        match self.hasher.finalize() == blake3::Hash::from_bytes(stored) {
            true => Ok(()),
            false => Err(Unusable::Damaged),
        }
    }
}

#[cfg(test)]
mod tests;
