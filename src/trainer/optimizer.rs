//! AdamW in one pass over each parameter: decoupled weight decay and bias correction exactly as torch computes them. Its
//! moments are held in full or in 8 bits a number, in memory or in a file.

mod blockwise;
mod file;
mod moments;

use std::io::{self, Read, Write};
use std::path::Path;

use crate::device::Array;
use crate::kernels::tape::Parameter;

pub use blockwise::BLOCK;
use file::MomentFile;
pub use moments::{Form, Moments, Which, read_numbers, write_numbers};

/// Everything of AdamW that does not change from step to step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// A part of the state that is one array in a file: the numbers or codes of a moment, or its scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// By its number.
    pub parameter: usize,
    pub which: Which,
    pub scales: bool,
}

impl Piece {
    /// Of parameters of these forms and sizes, in order.
    pub fn all(shapes: &[(Form, usize)]) -> impl Iterator<Item = Self> {
        let parameters = shapes.iter().enumerate();
        parameters.flat_map(|(parameter, (form, _))| {
            let each = Which::BOTH
                .into_iter()
                .flat_map(|which| [false, true].map(|scales| (which, scales)));
            let blocks = *form == Form::Blocks;
            each.filter(move |(_, scales)| blocks || !scales)
                .map(move |(which, scales)| Self {
                    parameter,
                    which,
                    scales,
                })
        })
    }
}

/// The optimizer's state: one pair of moments a parameter, in the parameters' order.
pub struct AdamW {
    settings: Settings,
    /// Updates made so far; skipped steps do not count.
    updates: u64,
    moments: Held,
}

enum Held {
    Memory(Vec<Moments>),
    File(MomentFile),
}

impl AdamW {
    /// In memory and in full. `sizes`: number of values of each parameter.
    pub fn new(settings: Settings, sizes: impl IntoIterator<Item = usize>) -> Self {
        let moments = sizes.into_iter().map(|len| Moments::zero(Form::Full, len));
        Self::restore(settings, 0, moments.collect())
    }

    /// As [`new`](Self::new), of parameters whose moments have these forms, and in a new file at `path` where there is one.
    pub fn held(
        settings: Settings,
        shapes: &[(Form, usize)],
        path: Option<&Path>,
    ) -> io::Result<Self> {
        let moments = match path {
            Some(path) => Held::File(MomentFile::create(path, shapes)?),
            None => {
                let zero = { shapes.iter() }.map(|(form, len)| Moments::zero(*form, *len));
                Held::Memory(zero.collect())
            }
        };
        Ok(Self {
            settings,
            updates: 0,
            moments,
        })
    }

    /// Takes up a state that `updates` and `moments` gave.
    pub const fn restore(settings: Settings, updates: u64, moments: Vec<Moments>) -> Self {
        Self {
            settings,
            updates,
            moments: Held::Memory(moments),
        }
    }

    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Those in memory.
    pub fn moments(&self) -> &[Moments] {
        match &self.moments {
            Held::Memory(moments) => moments,
            Held::File(_) => &[],
        }
    }

    /// Form and size of each parameter's moments.
    pub fn shapes(&self) -> Vec<(Form, usize)> {
        match &self.moments {
            Held::Memory(moments) => moments.iter().map(Moments::shape).collect(),
            Held::File(file) => file.shapes().collect(),
        }
    }

    /// Writes a piece of the state to `out`.
    pub fn write(&self, piece: Piece, out: &mut dyn Write) -> io::Result<()> {
        match &self.moments {
            Held::Memory(moments) => {
                let moment = moments[piece.parameter].get(piece.which);
                moment.write(piece.scales, out)
            }
            Held::File(file) => file.write(piece, out),
        }
    }

    /// Takes up the state after so many updates, of which `fetch` gives the pieces.
    pub fn take<R: Read>(
        &mut self,
        updates: u64,
        mut fetch: impl FnMut(Piece) -> io::Result<R>,
    ) -> io::Result<()> {
        for piece in Piece::all(&self.shapes()) {
            let mut from = fetch(piece)?;
            match &mut self.moments {
                Held::Memory(moments) => {
                    let moment = moments[piece.parameter].get_mut(piece.which);
                    moment.read(piece.scales, &mut from)?;
                }
                Held::File(file) => file.read(piece, &mut from)?,
            }
        }
        self.updates = updates;
        Ok(())
    }

    /// Puts moments that are in memory into a new file at `path`; those in a file stay there.
    ///
    /// # Errors
    /// As the disk fails: the moments are in memory then, as they were.
    pub fn offload(&mut self, path: &Path) -> io::Result<()> {
        let Held::Memory(moments) = &self.moments else {
            return Ok(());
        };
        let shapes = self.shapes();
        let mut file = MomentFile::create(path, &shapes)?;
        for piece in Piece::all(&shapes) {
            file.take(piece, moments[piece.parameter].get(piece.which))?;
        }
        self.moments = Held::File(file);
        Ok(())
    }

    /// One update of all parameters, each at `learning_rate` times its own rate.
    ///
    /// Source: torch `AdamW` (single tensor): `p ← p (1 − lr λ)`, `m ← m + (g − m)(1 − β₁)`, `v ← β₂ v + (1 − β₂) g²`,
    /// `p ← p − lr/(1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)`. Scalars are computed in f64, values in f32.
    ///
    /// # Errors
    /// As [`step_some`](Self::step_some).
    ///
    /// # Panics
    /// When the lengths are not those the state was made for: the caller pairs gradients with the wrong parameters.
    pub fn step(
        &mut self,
        learning_rate: f64,
        parameters: &[(&Parameter, f64)],
        gradients: &[Array],
    ) -> io::Result<()> {
        let active = vec![true; parameters.len()];
        self.step_some(learning_rate, parameters, &active, gradients)
    }

    /// Takes everything back to before the first update.
    ///
    /// # Errors
    /// As the disk fails, where moments lie in a file.
    pub fn restart(&mut self) -> io::Result<()> {
        self.updates = 0;
        match &mut self.moments {
            Held::Memory(moments) => {
                moments.iter_mut().for_each(Moments::restart);
                Ok(())
            }
            Held::File(file) => file.restart(),
        }
    }

    /// As [`step`](Self::step), of the parameters that are `active`, for which alone there are gradients.
    ///
    /// # Errors
    /// As the disk fails, where moments lie in a file; some parameters have changed then, and go on only from a checkpoint.
    ///
    /// # Panics
    /// As `step`.
    pub fn step_some(
        &mut self,
        learning_rate: f64,
        parameters: &[(&Parameter, f64)],
        active: &[bool],
        gradients: &[Array],
    ) -> io::Result<()> {
        let shapes = self.shapes();
        assert_eq!(
            parameters.len(),
            shapes.len(),
            "one pair of moments a parameter"
        );
        let count = active.iter().filter(|active| **active).count();
        assert_eq!(gradients.len(), count, "one gradient a parameter");
        self.updates += 1;
        let states = parameters.iter().zip(shapes).zip(active).enumerate();
        let states = states.filter(|(_, (_, active))| **active);
        for ((at, (((parameter, rate), (_, size)), _)), gradient) in states.zip(gradients) {
            let scalars = Scalars::at(&self.settings, self.updates, learning_rate * rate);
            let gradient = gradient.values();
            assert_eq!(gradient.len(), size, "a gradient has its parameter's size");
            let mut outcome = Ok(());
            parameter.update(|values| {
                assert_eq!(values.len(), size, "a parameter keeps its size");
                outcome = match &mut self.moments {
                    Held::Memory(moments) => {
                        moments[at].update(values, gradient, &scalars);
                        Ok(())
                    }
                    Held::File(file) => file.update(at, values, gradient, &scalars),
                };
            });
            outcome?;
        }
        Ok(())
    }
}

struct Scalars {
    keep: f32,
    first_gain: f32,
    second_keep: f32,
    second_gain: f32,
    second_correction: f32,
    epsilon: f32,
    step_size: f32,
}

impl Scalars {
    fn at(settings: &Settings, update: u64, learning_rate: f64) -> Self {
        let first_correction = 1.0 - settings.beta1.powf(update as f64);
        let second_correction = 1.0 - settings.beta2.powf(update as f64);
        Self {
            keep: (1.0 - learning_rate * settings.weight_decay) as f32,
            first_gain: (1.0 - settings.beta1) as f32,
            second_keep: settings.beta2 as f32,
            second_gain: (1.0 - settings.beta2) as f32,
            second_correction: second_correction.sqrt() as f32,
            epsilon: settings.epsilon as f32,
            step_size: (learning_rate / first_correction) as f32,
        }
    }

    /// As many gradients as values are read.
    fn update(&self, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        for (((value, &g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
            *m += (g - *m) * self.first_gain;
            *v = *v * self.second_keep + self.second_gain * g * g;
            let denominator = v.sqrt() / self.second_correction + self.epsilon;
            *value = *value * self.keep - self.step_size * (*m / denominator);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::moments::CHUNK;
    use super::*;

    /// Five updates by torch 2 (`torch.optim.AdamW`, lr 0.1, weight decay 0.01, gradients `(p − [1, −2, 3]) · t`).
    #[test]
    fn five_updates_are_torchs() {
        let settings = Settings {
            weight_decay: 0.01,
            ..Settings::default()
        };
        let mut adam = AdamW::new(settings, [3]);
        let parameter = Parameter::new(Array::row(vec![0.5, 0.25, -1.0]));
        let goal = [1.0f32, -2.0, 3.0];
        for t in 1..=5 {
            let values = parameter.array();
            let gaps = values.values().iter().zip(goal);
            let gradient = gaps.map(|(p, g)| (p - g) * t as f32).collect();
            adam.step(0.1, &[(&parameter, 1.0)], &[Array::row(gradient)])
                .unwrap();
        }
        for (value, torch) in parameter.array().values().iter().zip(TORCH) {
            assert!(
                (value - torch).abs() <= 2e-6 * torch.abs(),
                "{value} is not {torch}"
            );
        }
    }

    const TORCH: [f32; 3] = [0.991_415_8, -0.238_767_86, -0.508_992_3];

    #[test]
    fn an_update_does_not_depend_on_how_it_is_shared_out() {
        let n = 3 * CHUNK + 17;
        let gradient: Vec<f32> = (0..n)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0)
            .collect();
        let updated = |gradient: &[f32]| {
            let parameter = Parameter::new(Array::row(vec![0.5; gradient.len()]));
            let mut adam = AdamW::new(Settings::default(), [gradient.len()]);
            let gradient = Array::row(gradient.to_vec());
            adam.step(0.01, &[(&parameter, 1.0)], &[gradient]).unwrap();
            parameter.array()
        };
        let whole = updated(&gradient);
        for at in [0, CHUNK - 1, CHUNK, n - 1] {
            let alone = updated(&gradient[at..=at]);
            assert_eq!(alone.values()[0].to_bits(), whole.values()[at].to_bits());
        }
    }

    #[test]
    fn a_rate_of_its_own_is_a_learning_rate_of_its_own() {
        let moved = |learning_rate: f64, rate: f64| {
            let parameter = Parameter::new(Array::row(vec![0.5, -2.0]));
            let mut adam = AdamW::new(Settings::default(), [2]);
            let gradient = Array::row(vec![0.3, -0.1]);
            let moved = [(&parameter, rate)];
            adam.step(learning_rate, &moved, &[gradient]).unwrap();
            parameter.array()
        };
        assert_eq!(moved(0.01, 16.0), moved(0.16, 1.0));
        assert_ne!(moved(0.01, 16.0), moved(0.01, 1.0));
    }
}
