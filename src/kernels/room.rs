//! Memory for results of which every number will be written.

use std::mem::MaybeUninit;

pub fn room(len: usize) -> Vec<MaybeUninit<f32>> {
    let mut room = Vec::with_capacity(len);
    // SAFETY: there is room for `len`, and nothing is a value of this type too.
    unsafe { room.set_len(len) };
    room
}

/// # Safety
/// Every number has been written.
pub unsafe fn written(room: Vec<MaybeUninit<f32>>) -> Vec<f32> {
    let mut room = std::mem::ManuallyDrop::new(room);
    // SAFETY: the parts of a vector, of a type of the same layout whose values all are written, says the caller.
    unsafe { Vec::from_raw_parts(room.as_mut_ptr().cast(), room.len(), room.capacity()) }
}
