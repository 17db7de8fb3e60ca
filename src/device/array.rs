//! Matrices of f32.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::{Accelerator, Buffer, Device, Part, Result, bail};

/// A matrix [rows, width] of f32, row after row. It never changes while it is shared; clones share their numbers.
#[derive(Clone)]
pub struct Array {
    rows: usize,
    width: usize,
    data: Data,
}

#[derive(Clone)]
enum Data {
    Host(Arc<Numbers>),
    /// Put away in 16 bits a number.
    Away(Arc<Vec<u16>>, Half),
    Accelerator(Buffer),
}

/// Numbers of 16 bits. All of them are numbers of f32 too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    Bf16,
    F16,
}

#[derive(Clone)]
struct Numbers {
    values: Vec<f32>,
    /// What all of them are numbers of.
    half: Option<Half>,
    /// They in 16 bits, once a clone has been put away.
    away: OnceLock<Arc<Vec<u16>>>,
}

impl From<Vec<f32>> for Data {
    fn from(values: Vec<f32>) -> Self {
        Self::Host(Arc::new(Numbers {
            values,
            half: None,
            away: OnceLock::new(),
        }))
    }
}

impl Array {
    /// Fails unless there are rows · width values.
    pub fn new(values: Vec<f32>, (rows, width): (usize, usize)) -> Result<Self> {
        if rows.checked_mul(width) != Some(values.len()) {
            bail!("{} values for a matrix [{rows}, {width}]", values.len());
        }
        Ok(Self {
            rows,
            width,
            data: values.into(),
        })
    }

    /// One row.
    pub fn row(values: Vec<f32>) -> Self {
        Self {
            rows: 1,
            width: values.len(),
            data: values.into(),
        }
    }

    /// [width, rows]
    pub fn transposed(&self) -> Self {
        let (rows, width) = self.dims();
        let mut turned = Self::zeros((width, rows));
        let values = turned.values_mut();
        for (row, from) in self.values().chunks_exact(width.max(1)).enumerate() {
            let places = from.iter().enumerate();
            places.for_each(|(column, value)| values[column * rows + row] = *value);
        }
        turned
    }

    pub fn zeros((rows, width): (usize, usize)) -> Self {
        Self {
            rows,
            width,
            data: vec![0.0; rows * width].into(),
        }
    }

    /// (rows, width)
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.width)
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn len(&self) -> usize {
        self.rows * self.width
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values of an array on the host; an empty slice for one that is put away, or on an accelerator, which its
    /// operations' arms alone read.
    pub fn values(&self) -> &[f32] {
        match &self.data {
            Data::Host(numbers) => &numbers.values,
            Data::Away(..) | Data::Accelerator(_) => &[],
        }
    }

    /// The values to be changed; copied first where others share them. Of an array on the host.
    pub fn values_mut(&mut self) -> &mut [f32] {
        match &mut self.data {
            Data::Host(numbers) => {
                let numbers = Arc::make_mut(numbers);
                numbers.half = None;
                numbers.away.take();
                &mut numbers.values
            }
            Data::Away(..) | Data::Accelerator(_) => &mut [],
        }
    }

    /// The values; copied only where others share them. Of an array on the host.
    pub fn into_values(self) -> Vec<f32> {
        match self.data {
            Data::Host(numbers) => Arc::unwrap_or_clone(numbers).values,
            Data::Away(..) | Data::Accelerator(_) => Vec::new(),
        }
    }

    /// Bytes of the values.
    pub fn bytes(&self) -> u64 {
        let each = match self.data {
            Data::Away(..) => size_of::<u16>(),
            Data::Host(_) | Data::Accelerator(_) => size_of::<f32>(),
        };
        (self.len() * each) as u64
    }

    /// What all of its values are numbers of, where that is known.
    pub fn half(&self) -> Option<Half> {
        match &self.data {
            Data::Host(numbers) => numbers.half,
            Data::Away(_, half) => Some(*half),
            Data::Accelerator(_) => None,
        }
    }

    /// With the values of an array on the host made numbers of `half` by `round`, in place where no clone shares them.
    pub fn rounded(mut self, half: Half, round: impl FnOnce(&mut [f32])) -> Self {
        if let Data::Host(numbers) = &mut self.data
            && numbers.half != Some(half)
        {
            let numbers = Arc::make_mut(numbers);
            round(&mut numbers.values);
            numbers.half = Some(half);
            numbers.away.take();
        }
        self
    }

    /// Whether both are the same numbers in memory.
    pub fn shares(&self, other: &Self) -> bool {
        matches!((&self.data, &other.data), (Data::Host(a), Data::Host(b)) if Arc::ptr_eq(a, b))
    }

    /// Keeps of values that are 16-bit numbers only those, as `narrow` gives them; clones that are put away share them.
    /// Operations cannot read the array until it is taken out.
    pub fn put_away(&mut self, narrow: impl FnOnce(&[f32], Half) -> Vec<u16>) {
        if let Data::Host(numbers) = &self.data
            && let Some(half) = numbers.half
        {
            let away = { &numbers.away }.get_or_init(|| Arc::new(narrow(&numbers.values, half)));
            self.data = Data::Away(away.clone(), half);
        }
    }

    /// Makes of what was put away the values it was, by `widen`.
    pub fn take_out(&mut self, widen: impl FnOnce(&[u16], Half) -> Vec<f32>) {
        if let Data::Away(away, half) = &self.data {
            self.data = Data::Host(Arc::new(Numbers {
                values: widen(away, *half),
                half: Some(*half),
                away: OnceLock::new(),
            }));
        }
    }

    /// Whether operations of this device can read it.
    pub fn is_on(&self, device: &Device) -> bool {
        match (&self.data, device) {
            (Data::Host(_), Device::Host) => true,
            (Data::Accelerator(buffer), Device::Accelerator(on)) => on.owns(buffer),
            _ => false,
        }
    }

    /// Where it lies on an accelerator.
    pub fn buffer(&self) -> Result<&Buffer> {
        match &self.data {
            Data::Accelerator(buffer) => Ok(buffer),
            Data::Host(_) | Data::Away(..) => bail!("{self:?} lies on the host"),
        }
    }

    /// A matrix on an accelerator whose values are still to be written.
    pub fn unwritten(
        on: &dyn Accelerator,
        part: Part,
        (rows, width): (usize, usize),
    ) -> Result<Self> {
        let Some(bytes) = rows
            .checked_mul(width)
            .and_then(|n| n.checked_mul(size_of::<f32>()))
        else {
            bail!("a matrix [{rows}, {width}] is too large");
        };
        Ok(Self {
            rows,
            width,
            data: Data::Accelerator(on.alloc(part, bytes)?),
        })
    }

    /// A copy on an accelerator of an array on the host.
    pub fn upload(&self, on: &dyn Accelerator, part: Part) -> Result<Self> {
        if let Data::Accelerator(_) = self.data {
            bail!("{self:?} lies on an accelerator already");
        }
        let copy = Self::unwritten(on, part, self.dims())?;
        on.upload(copy.buffer()?, 0, bytemuck::cast_slice(self.values()))?;
        Ok(copy)
    }

    /// A copy on the host of an array on an accelerator; waits for what makes its values.
    pub fn download(&self, on: &dyn Accelerator) -> Result<Self> {
        let mut values = vec![0.0f32; self.len()];
        on.download(self.buffer()?, 0, bytemuck::cast_slice_mut(&mut values))?;
        Self::new(values, self.dims())
    }

    /// Some rows, in the order of their numbers.
    pub fn select_rows(&self, rows: &[usize]) -> Result<Self> {
        if rows.len() == self.rows && rows.iter().enumerate().all(|(at, row)| at == *row) {
            return Ok(self.clone());
        }
        if let Data::Accelerator(_) = self.data {
            bail!("rows of {self:?} are selected on its device");
        }
        let mut picked = Vec::with_capacity(rows.len() * self.width);
        for &row in rows {
            if row >= self.rows {
                bail!("row {row} of {}", self.rows);
            }
            picked.extend_from_slice(&self.values()[row * self.width..(row + 1) * self.width]);
        }
        Self::new(picked, (rows.len(), self.width))
    }
}

impl PartialEq for Array {
    /// Of arrays on the host.
    fn eq(&self, other: &Self) -> bool {
        self.dims() == other.dims()
            && matches!((&self.data, &other.data), (Data::Host(a), Data::Host(b)) if a.values == b.values)
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array[{}, {}]", self.rows, self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_has_as_many_values_as_its_sizes_say() {
        assert!(Array::new(vec![0.0; 5], (2, 3)).is_err());
        assert!(Array::new(vec![], (usize::MAX, 2)).is_err());
        let array = Array::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (2, 3)).unwrap();
        assert_eq!((array.dims(), array.len(), array.bytes()), ((2, 3), 6, 24));
    }

    #[test]
    fn a_change_is_not_seen_by_clones() {
        let mut array = Array::row(vec![1.0, 2.0]);
        let before = array.clone();
        array.values_mut()[0] = 9.0;
        assert_eq!(before.values(), [1.0, 2.0]);
        assert_eq!(array.into_values(), [9.0, 2.0]);
    }

    #[test]
    fn what_is_put_away_is_shared_and_comes_back() {
        let narrow = |values: &[f32], half| {
            assert_eq!(half, Half::Bf16);
            values
                .iter()
                .map(|value| (value.to_bits() >> 16) as u16)
                .collect()
        };
        let wide = |bits: &[u16], _| {
            bits.iter()
                .map(|b| f32::from_bits(u32::from(*b) << 16))
                .collect()
        };
        let mut plain = Array::row(vec![1.0, 2.0]);
        plain.put_away(narrow);
        assert_eq!(
            (plain.values(), plain.half()),
            (&[1.0, 2.0][..], None),
            "nobody said it could"
        );
        let array = Array::row(vec![1.1, 2.1]);
        let unrounded = array.clone();
        let array = array.rounded(Half::Bf16, |values| values.copy_from_slice(&[1.0, 2.0]));
        assert_eq!(unrounded.values(), [1.1, 2.1]);
        let [mut one, mut other] = [array.clone(), array.clone()];
        assert!(one.shares(&array) && !one.shares(&unrounded));
        one.put_away(narrow);
        other.put_away(|_, _| panic!("the first did that"));
        assert_eq!((one.bytes(), one.values().len()), (4, 0));
        assert!(!one.is_on(&Device::Host));
        for mut away in [one, other] {
            away.take_out(wide);
            assert_eq!(
                (away.values(), away.half()),
                (&[1.0, 2.0][..], Some(Half::Bf16))
            );
        }
        let mut changed = array.clone();
        changed.values_mut()[0] = 1.1;
        assert_eq!((changed.half(), array.half()), (None, Some(Half::Bf16)));
    }

    #[test]
    fn rows_are_selected_in_the_order_asked_for() {
        let array = Array::new((0..6).map(|v| v as f32).collect(), (3, 2)).unwrap();
        let picked = array.select_rows(&[2, 0, 2]).unwrap();
        assert_eq!(picked.values(), [4.0, 5.0, 0.0, 1.0, 4.0, 5.0]);
        assert_eq!(array.select_rows(&[0, 1, 2]).unwrap(), array);
        assert!(array.select_rows(&[3]).is_err());
    }
}
