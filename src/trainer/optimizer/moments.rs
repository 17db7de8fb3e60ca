//! What AdamW remembers of a parameter, in full or in 8 bits a number.

use std::io::{self, Read, Write};

use super::Scalars;
use super::blockwise::{BLOCK, Map};
use crate::domain::Optimizer;
use crate::kernels::pool;

/// Values one task updates, whole blocks: small enough to share work, large enough to be worth handing out.
pub(super) const CHUNK: usize = 64 * BLOCK;
/// A parameter with fewer numbers keeps its moments in full, as bitsandbytes has it.
const FEWEST: usize = 4096;

/// How the moments of a parameter are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Full,
    Blocks,
}

impl Form {
    /// For a parameter of this name and number of values. As bitsandbytes: small ones and embeddings, whose rows have
    /// gradients at very different times, are held in full.
    pub fn of(optimizer: Optimizer, name: &str, len: usize) -> Self {
        let is_embedding = name.contains("embed") && !name.contains("lora_");
        match optimizer {
            Optimizer::AdamW8bit if len >= FEWEST && !is_embedding => Self::Blocks,
            _ => Self::Full,
        }
    }

    /// Bytes of one moment of `len` numbers: of its numbers or codes, and of its scales.
    pub const fn bytes(self, len: usize) -> [usize; 2] {
        match self {
            Self::Full => [4 * len, 0],
            Self::Blocks => [len, 4 * len.div_ceil(BLOCK)],
        }
    }
}

/// One moment of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Moment {
    Full(Vec<f32>),
    /// A code for each number, and a scale for each block of them.
    Blocks {
        codes: Vec<u8>,
        scales: Vec<f32>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    First,
    Second,
}

impl Which {
    pub const BOTH: [Self; 2] = [Self::First, Self::Second];

    fn map(self) -> &'static Map {
        match self {
            Self::First => Map::signed(),
            Self::Second => Map::unsigned(),
        }
    }
}

impl Moment {
    fn zero(form: Form, which: Which, len: usize) -> Self {
        match form {
            Form::Full => Self::Full(vec![0.0; len]),
            Form::Blocks => Self::Blocks {
                codes: vec![which.map().zero(); len],
                scales: vec![0.0; len.div_ceil(BLOCK)],
            },
        }
    }

    fn fill_with_zero(&mut self, which: Which) {
        match self {
            Self::Full(numbers) => numbers.fill(0.0),
            Self::Blocks { codes, scales } => {
                codes.fill(which.map().zero());
                scales.fill(0.0);
            }
        }
    }

    /// The numbers; none where they are held in 8 bits.
    pub fn numbers(&self) -> &[f32] {
        match self {
            Self::Full(numbers) => numbers,
            Self::Blocks { .. } => &[],
        }
    }

    /// As it lies in a file: its numbers or codes, or its scales.
    pub(super) fn write(&self, scales_of: bool, out: &mut dyn Write) -> io::Result<()> {
        match (self, scales_of) {
            (Self::Full(numbers), false) => write_numbers(out, numbers),
            (Self::Full(_), true) => Ok(()),
            (Self::Blocks { codes, .. }, false) => out.write_all(codes),
            (Self::Blocks { scales, .. }, true) => write_numbers(out, scales),
        }
    }

    /// Takes what [`write`](Self::write) wrote of as many numbers.
    pub(super) fn read(&mut self, scales_of: bool, from: &mut dyn Read) -> io::Result<()> {
        match (self, scales_of) {
            (Self::Full(numbers), false) => read_numbers(from, numbers),
            (Self::Full(_), true) => Ok(()),
            (Self::Blocks { codes, .. }, false) => from.read_exact(codes),
            (Self::Blocks { scales, .. }, true) => read_numbers(from, scales),
        }
    }
}

/// First and second moment of one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    pub first: Moment,
    pub second: Moment,
}

impl Moments {
    /// Before the first update.
    pub fn zero(form: Form, len: usize) -> Self {
        Self {
            first: Moment::zero(form, Which::First, len),
            second: Moment::zero(form, Which::Second, len),
        }
    }

    /// Held in full.
    pub const fn full(first: Vec<f32>, second: Vec<f32>) -> Self {
        Self {
            first: Moment::Full(first),
            second: Moment::Full(second),
        }
    }

    pub(super) fn shape(&self) -> (Form, usize) {
        match &self.first {
            Moment::Full(numbers) => (Form::Full, numbers.len()),
            Moment::Blocks { codes, .. } => (Form::Blocks, codes.len()),
        }
    }

    pub(super) fn get(&self, which: Which) -> &Moment {
        match which {
            Which::First => &self.first,
            Which::Second => &self.second,
        }
    }

    pub(super) fn get_mut(&mut self, which: Which) -> &mut Moment {
        match which {
            Which::First => &mut self.first,
            Which::Second => &mut self.second,
        }
    }

    /// Back to before the first update.
    pub(super) fn restart(&mut self) {
        for which in Which::BOTH {
            self.get_mut(which).fill_with_zero(which);
        }
    }

    /// One update of the values they belong to, of which `gradient` has as many. A block's numbers depend on that block
    /// alone, so it does not matter how the work is shared out.
    pub(super) fn update(&mut self, values: &mut [f32], gradient: &[f32], scalars: &Scalars) {
        match (&mut self.first, &mut self.second) {
            (Moment::Full(first), Moment::Full(second)) => {
                pool::over_parts([values, first, second], CHUNK, |start, parts| {
                    let [values, first, second] = parts;
                    scalars.update(values, &gradient[start..], first, second);
                });
            }
            (
                Moment::Blocks { codes, scales },
                Moment::Blocks {
                    codes: more,
                    scales: beside,
                },
            ) => {
                let blocks = CHUNK / BLOCK;
                let first = codes.chunks_mut(CHUNK).zip(scales.chunks_mut(blocks));
                let second = more.chunks_mut(CHUNK).zip(beside.chunks_mut(blocks));
                let values = values.chunks_mut(CHUNK).zip(gradient.chunks(CHUNK));
                let parts = values.zip(first.zip(second));
                let mut parts: Vec<_> = parts.collect();
                pool::over_rows(&mut parts, 1, 1, |_, parts| {
                    for ((values, gradient), (first, second)) in parts {
                        update_blocks(scalars, values, gradient, [first, second]);
                    }
                });
            }
            // Both are made in one form.
            _ => {}
        }
    }
}

fn update_blocks(
    scalars: &Scalars,
    values: &mut [f32],
    gradient: &[f32],
    moments: [&mut (&mut [u8], &mut [f32]); 2],
) {
    let [(codes, scales), (more, beside)] = moments;
    let first = codes.chunks_mut(BLOCK).zip(scales.iter_mut());
    let second = more.chunks_mut(BLOCK).zip(beside.iter_mut());
    let values = values.chunks_mut(BLOCK).zip(gradient.chunks(BLOCK));
    let (signed, unsigned) = (Map::signed(), Map::unsigned());
    let (mut m, mut v) = ([0.0; BLOCK], [0.0; BLOCK]);
    for ((values, gradient), ((codes, scale), (more, beside))) in values.zip(first.zip(second)) {
        let (m, v) = (&mut m[..values.len()], &mut v[..values.len()]);
        signed.unpack(codes, *scale, m);
        unsigned.unpack(more, *beside, v);
        scalars.update(values, gradient, m, v);
        *scale = signed.pack(m, codes);
        *beside = unsigned.pack(v, more);
    }
}

/// Numbers that are converted at a time.
const SLICE: usize = 16 << 10;

/// Writes numbers, low bytes first.
pub fn write_numbers(out: &mut dyn Write, numbers: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(4 * SLICE.min(numbers.len()));
    for slice in numbers.chunks(SLICE) {
        bytes.clear();
        bytes.extend(slice.iter().flat_map(|number| number.to_le_bytes()));
        out.write_all(&bytes)?;
        pool::give_way();
    }
    Ok(())
}

/// Reads as many numbers as there are places.
pub fn read_numbers(from: &mut dyn Read, numbers: &mut [f32]) -> io::Result<()> {
    let mut bytes = vec![0; 4 * SLICE.min(numbers.len())];
    for slice in numbers.chunks_mut(SLICE) {
        let bytes = &mut bytes[..4 * slice.len()];
        from.read_exact(bytes)?;
        for (number, bytes) in slice.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *number = f32::from_le_bytes(*bytes);
        }
        pool::give_way();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::trainer::optimizer::Settings;

    #[test]
    fn small_parameters_and_embeddings_are_held_in_full() {
        let of = |name, len| Form::of(Optimizer::AdamW8bit, name, len);
        assert_eq!(of("model.layers.0.mlp.up_proj.weight", 4096), Form::Blocks);
        assert_eq!(of("model.layers.0.mlp.up_proj.weight", 4095), Form::Full);
        for name in [
            "model.embed_tokens.weight",
            "prompt_embeddings",
            "embedding.weight",
        ] {
            assert_eq!(of(name, 1 << 20), Form::Full, "{name}");
        }
        let factor = "base_model.model.model.embed_tokens.lora_embedding_A";
        assert_eq!(of(factor, 1 << 20), Form::Blocks);
        assert_eq!(Form::of(Optimizer::AdamW, factor, 1 << 20), Form::Full);
    }

    /// `tests/golden/training/adamw8bit.safetensors`, by numpy.
    #[test]
    fn updates_in_8_bits_are_the_oracles() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/training");
        let bytes = std::fs::read(golden.join("adamw8bit.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let array = |name: &str| -> Vec<f32> {
            let data = file.tensor(name).unwrap();
            let data = data.data().as_chunks::<4>().0.iter();
            data.map(|number| f32::from_le_bytes(*number)).collect()
        };
        let settings = Settings {
            beta2: 0.99,
            weight_decay: 0.01,
            ..Settings::default()
        };
        let mut values = array("start");
        let len = values.len();
        let mut moments = Moments::zero(Form::Blocks, len);
        let (gradients, expected) = (array("gradients"), array("values"));
        let steps = gradients.chunks_exact(len).zip(expected.chunks_exact(len));
        for (step, (gradient, expected)) in steps.enumerate() {
            let scalars = Scalars::at(&settings, step as u64 + 1, 1e-2);
            moments.update(&mut values, gradient, &scalars);
            for (at, (value, expected)) in values.iter().zip(expected).enumerate() {
                let close = (value - expected).abs() <= 1e-6 * expected.abs().max(1.0);
                assert!(close, "update {step}, {at}: {value} is not {expected}");
            }
        }
        for (which, name) in Which::BOTH.into_iter().zip(["first", "second"]) {
            let Moment::Blocks { codes, scales } = moments.get(which) else {
                panic!("in blocks")
            };
            let wanted = file.tensor(&format!("{name}.codes")).unwrap();
            assert_eq!(codes, wanted.data(), "{name}");
            assert_eq!(*scales, array(&format!("{name}.scales")), "{name}");
        }
    }

    /// In f32 and in 8 bits the same problem is solved, nearly as fast.
    #[test]
    fn eight_bits_learn_what_32_learn() {
        let goal: Vec<f32> = (0..3 * BLOCK).map(|at| (at as f32 * 0.7).sin()).collect();
        let loss = |form| {
            let mut moments = Moments::zero(form, goal.len());
            let mut values = vec![0.0; goal.len()];
            for step in 1..=200 {
                let gaps = values.iter().zip(&goal);
                let gradient: Vec<f32> = gaps.map(|(value, goal)| value - goal).collect();
                let scalars = Scalars::at(&Settings::default(), step, 0.02);
                moments.update(&mut values, &gradient, &scalars);
            }
            let gaps = values.iter().zip(&goal);
            gaps.map(|(value, goal)| (value - goal).powi(2))
                .sum::<f32>()
        };
        let start: f32 = goal.iter().map(|goal| goal * goal).sum();
        let [full, blocks] = [Form::Full, Form::Blocks].map(loss);
        assert!(
            full < 0.01 * start && blocks < 0.01 * start,
            "{full}, {blocks}"
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        for form in [Form::Full, Form::Blocks] {
            let len = CHUNK + 3 * BLOCK + 7;
            let mut moments = Moments::zero(form, len);
            let gradient: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin()).collect();
            let scalars = Scalars::at(&Settings::default(), 1, 0.1);
            moments.update(&mut vec![0.5; len], &gradient, &scalars);
            let mut again = Moments::zero(form, len);
            assert_ne!(again, moments);
            for which in Which::BOTH {
                for (scales, bytes) in [false, true].into_iter().zip(form.bytes(len)) {
                    let mut written = Vec::new();
                    moments.get(which).write(scales, &mut written).unwrap();
                    assert_eq!(written.len(), bytes);
                    let moment = again.get_mut(which);
                    moment.read(scales, &mut &written[..]).unwrap();
                }
            }
            assert_eq!(again, moments);
            again.restart();
            assert_eq!(again, Moments::zero(form, len));
        }
    }
}
