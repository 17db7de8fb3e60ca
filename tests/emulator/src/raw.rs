//! The C side, as `c/emulated.h` and `c/runtime.h` declare it.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pointer,
    Unsigned,
    Float,
}

#[repr(C)]
struct Parameter {
    name: *const c_char,
    kind: c_int,
}

#[repr(C)]
pub(crate) struct Kernel {
    name: *const c_char,
    enter: extern "C" fn(*mut *mut c_void),
    pub most_threads: c_uint,
    count: c_uint,
    parameters: *const Parameter,
}

impl Kernel {
    pub fn kinds(&self) -> Vec<Kind> {
        // SAFETY: the table says how many there are.
        let parameters =
            unsafe { std::slice::from_raw_parts(self.parameters, self.count as usize) };
        let kind = |parameter: &Parameter| match parameter.kind {
            0 => Kind::Pointer,
            1 => Kind::Unsigned,
            _ => Kind::Float,
        };
        parameters.iter().map(kind).collect()
    }
}

unsafe extern "C" {
    pub(crate) fn emu_find(build: *const c_char, name: *const c_char) -> *const Kernel;
    pub(crate) fn emu_alloc(bytes: usize, checked: c_int) -> *mut c_void;
    pub(crate) fn emu_free(start: *mut c_void);
    pub(crate) fn emu_upload(to: *mut c_void, from: *const c_void, bytes: usize);
    pub(crate) fn emu_launch(
        kernel: *const Kernel,
        grid: *const c_uint,
        block: *const c_uint,
        dynamic: usize,
        arguments: *mut *mut c_void,
        checked: c_int,
        order: c_int,
        seed: u64,
        report: *mut *const c_char,
    ) -> c_int;
}

/// # Safety
/// A text that ends with a zero.
pub(crate) unsafe fn text(start: *const c_char) -> String {
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(start) }
        .to_string_lossy()
        .into_owned()
}
