//! The weights of one low-rank product, as the kernels read them.

use half::bf16;

/// Numbers as stored: 32 bits, or 16 where the source had no more.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

impl Values {
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn bytes(&self) -> u64 {
        match self {
            Self::F32(values) => size_of_val(values.as_slice()) as u64,
            Self::Bf16(values) => size_of_val(values.as_slice()) as u64,
        }
    }

    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::F32(values) => values.clone(),
            Self::Bf16(values) => values.iter().map(|value| value.to_f32()).collect(),
        }
    }

    /// Place and value of the first number that is not within ±`most`; NaN never is.
    pub fn first_beyond(&self, most: f32) -> Option<(usize, f32)> {
        let beyond = |value: f32| value.is_nan() || value.abs() > most;
        match self {
            Self::F32(values) => values
                .iter()
                .position(|value| beyond(*value))
                .map(|at| (at, values[at])),
            Self::Bf16(values) => values
                .iter()
                .position(|value| beyond(value.to_f32()))
                .map(|at| (at, values[at].to_f32())),
        }
    }

    /// √(mean of the squares); 0 of nothing.
    pub fn root_mean_square(&self) -> f64 {
        let squares: f64 = match self {
            Self::F32(values) => values.iter().map(|v| f64::from(*v).powi(2)).sum(),
            Self::Bf16(values) => values.iter().map(|v| f64::from(*v).powi(2)).sum(),
        };
        (squares / self.len().max(1) as f64).sqrt()
    }

    /// A [rows, columns] matrix as [columns, rows].
    fn transposed(&self, rows: usize, columns: usize) -> Self {
        fn turn<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
            (0..columns)
                .flat_map(|column| (0..rows).map(move |row| values[row * columns + column]))
                .collect()
        }
        match self {
            Self::F32(values) => Self::F32(turn(values, rows, columns)),
            Self::Bf16(values) => Self::Bf16(turn(values, rows, columns)),
        }
    }
}

/// `scale · B A` of rank r: A [r, inputs] as given, B [outputs, r] kept transposed so that both are read in rows.
#[derive(Debug, Clone)]
pub struct LowRank {
    rank: usize,
    inputs: usize,
    outputs: usize,
    scale: f32,
    a: Values,
    b_transposed: Values,
}

impl LowRank {
    /// `None` where the sizes do not agree or one is 0.
    pub fn new(
        rank: usize,
        inputs: usize,
        outputs: usize,
        scale: f32,
        a: Values,
        b: &Values,
    ) -> Option<Self> {
        let fits = rank > 0
            && inputs > 0
            && outputs > 0
            && rank.checked_mul(inputs) == Some(a.len())
            && rank.checked_mul(outputs) == Some(b.len());
        fits.then(|| Self {
            rank,
            inputs,
            outputs,
            scale,
            a,
            b_transposed: b.transposed(outputs, rank),
        })
    }

    pub fn rank(&self) -> usize {
        self.rank
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    pub fn scale(&self) -> f32 {
        self.scale
    }

    pub fn bytes(&self) -> u64 {
        self.a.bytes() + self.b_transposed.bytes()
    }

    /// A [rank, inputs].
    pub fn a(&self) -> &Values {
        &self.a
    }

    /// Bᵀ [rank, outputs].
    pub fn b_transposed(&self) -> &Values {
        &self.b_transposed
    }

    /// B [outputs, rank].
    pub fn b(&self) -> Values {
        self.b_transposed.transposed(self.rank, self.outputs)
    }
}
