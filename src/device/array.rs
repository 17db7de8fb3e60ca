//! Matrices of f32.

use std::fmt;
use std::sync::Arc;

use super::{Result, bail};

/// A matrix [rows, width] of f32, row after row. It never changes while it is shared; clones share their numbers.
#[derive(Clone, PartialEq)]
pub struct Array {
    rows: usize,
    width: usize,
    values: Arc<Vec<f32>>,
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
            values: Arc::new(values),
        })
    }

    /// One row.
    pub fn row(values: Vec<f32>) -> Self {
        Self {
            rows: 1,
            width: values.len(),
            values: Arc::new(values),
        }
    }

    pub fn zeros((rows, width): (usize, usize)) -> Self {
        Self {
            rows,
            width,
            values: Arc::new(vec![0.0; rows * width]),
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
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values to be changed; copied first where others share them.
    pub fn values_mut(&mut self) -> &mut [f32] {
        let values: &mut Vec<f32> = Arc::make_mut(&mut self.values);
        values
    }

    /// The values; copied only where others share them.
    pub fn into_values(self) -> Vec<f32> {
        Arc::unwrap_or_clone(self.values)
    }

    /// Bytes of the values.
    pub fn bytes(&self) -> u64 {
        (self.values.len() * size_of::<f32>()) as u64
    }

    /// Some rows, in the order of their numbers.
    pub fn select_rows(&self, rows: &[usize]) -> Result<Self> {
        if rows.len() == self.rows && rows.iter().enumerate().all(|(at, row)| at == *row) {
            return Ok(self.clone());
        }
        let mut picked = Vec::with_capacity(rows.len() * self.width);
        for &row in rows {
            if row >= self.rows {
                bail!("row {row} of {}", self.rows);
            }
            picked.extend_from_slice(&self.values[row * self.width..(row + 1) * self.width]);
        }
        Self::new(picked, (rows.len(), self.width))
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
    fn rows_are_selected_in_the_order_asked_for() {
        let array = Array::new((0..6).map(|v| v as f32).collect(), (3, 2)).unwrap();
        let picked = array.select_rows(&[2, 0, 2]).unwrap();
        assert_eq!(picked.values(), [4.0, 5.0, 0.0, 1.0, 4.0, 5.0]);
        assert_eq!(array.select_rows(&[0, 1, 2]).unwrap(), array);
        assert!(array.select_rows(&[3]).is_err());
    }
}
