//! Unit: which multiply instructions products with packed weights use, and the switch that holds them back.

use std::sync::OnceLock;

/// Names the best [`Unit`] that may be used, to compare units or to keep off one that misbehaves.
pub const SWITCH: &str = "ADAPTERD_CPU";

/// From the plainest to the fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    Portable,
    Avx2,
    AvxVnni,
    Avx512Vnni,
    AmxInt8,
}

impl Unit {
    const ALL: [Self; 5] = [
        Self::Portable,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::AmxInt8,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx_vnni",
            Self::Avx512Vnni => "avx512_vnni",
            Self::AmxInt8 => "amx_int8",
        }
    }

    /// Those of this processor that the switch allows, the fastest last.
    pub fn available() -> impl DoubleEndedIterator<Item = Self> {
        let ceiling = ceiling();
        Self::ALL
            .into_iter()
            .filter(move |unit| *unit <= ceiling && unit.is_here())
    }

    /// The fastest of them.
    pub fn best() -> Self {
        static BEST: OnceLock<Unit> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().next_back().unwrap_or(Self::Portable))
    }

    #[cfg(target_arch = "x86_64")]
    fn is_here(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Avx2 => has_avx2(),
            Self::AvxVnni => has_avx2() && is_x86_feature_detected!("avxvnni"),
            Self::Avx512Vnni => has_avx512_vnni(),
            Self::AmxInt8 => has_avx512_vnni() && has_amx(AMX_INT8),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_here(self) -> bool {
        self == Self::Portable
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.name() == name)
    }
}

/// AVX2 with what the kernels use beside it.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

/// The parts of AVX-512 that the kernels use, and AVX2.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512_vnni() -> bool {
    has_avx512() && is_x86_feature_detected!("avx512vnni")
}

/// Whether the matrix unit multiplies bf16, and the switch allows it to.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_amx_bf16() -> bool {
    ceiling() >= Unit::AmxInt8 && has_amx(AMX_BF16)
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn has_amx_bf16() -> bool {
    false
}

/// Whether AVX-512 multiplies pairs of bf16, and faster than it widens them: processors with the matrix unit do not.
#[cfg(target_arch = "x86_64")]
pub(super) fn multiplies_pairs() -> bool {
    has_pairs() && amx_features() & AMX_BF16 == 0
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn multiplies_pairs() -> bool {
    false
}

/// Whether AVX-512 multiplies pairs of bf16, and the switch allows it to.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_pairs() -> bool {
    ceiling() >= Unit::Avx512Vnni && has_avx512() && is_x86_feature_detected!("avx512bf16")
}

#[cfg(all(test, not(target_arch = "x86_64")))]
pub(super) fn has_pairs() -> bool {
    false
}

/// Bits of the processor's features: the matrix unit itself, and the kinds of numbers it multiplies.
#[cfg(target_arch = "x86_64")]
const AMX_TILE: u32 = 1 << 24;
#[cfg(target_arch = "x86_64")]
const AMX_INT8: u32 = 1 << 25;
#[cfg(target_arch = "x86_64")]
const AMX_BF16: u32 = 1 << 22;

/// What the processor says of its matrix unit, whether a process may use it or not. Asked once: where a hypervisor answers, that
/// takes as long as a product.
#[cfg(target_arch = "x86_64")]
fn amx_features() -> u32 {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    static FEATURES: OnceLock<u32> = OnceLock::new();
    *FEATURES.get_or_init(|| match __cpuid(0).eax {
        ..7 => 0,
        _ => __cpuid_count(7, 0).edx & (AMX_TILE | AMX_INT8 | AMX_BF16),
    })
}

/// The matrix unit for such numbers, which the kernel lets a process use only once it has asked.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_amx(numbers: u32) -> bool {
    /// `ARCH_REQ_XCOMP_PERM` and `XFEATURE_XTILEDATA` of Linux's asm/prctl.h and its XSAVE features.
    const REQUEST: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    static ALLOWED: OnceLock<u32> = OnceLock::new();
    let allowed = *ALLOWED.get_or_init(|| {
        let features = amx_features();
        // SAFETY: this request passes numbers only; a kernel that does not know it refuses.
        let granted = features & AMX_TILE != 0
            && unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 };
        if granted { features } else { 0 }
    });
    allowed & numbers != 0
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn has_amx(_numbers: u32) -> bool {
    false
}

/// What the switch says; the fastest where it says nothing, or something [`check_switch`] refuses.
pub(super) fn ceiling() -> Unit {
    static CEILING: OnceLock<Unit> = OnceLock::new();
    *CEILING.get_or_init(|| {
        let value = std::env::var(SWITCH).unwrap_or_default();
        Unit::from_name(&value).unwrap_or(Unit::AmxInt8)
    })
}

/// Whether the switch, as set to `value`, names a unit.
pub fn check_switch(value: &str) -> Result<(), String> {
    if Unit::from_name(value).is_some() {
        return Ok(());
    }
    let known: Vec<_> = Unit::ALL.iter().map(|unit| unit.name()).collect();
    Err(format!("`{value}` is none of {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_unit_is_one_of_those_available_and_all_have_names_of_their_own() {
        assert_eq!(Unit::available().next(), Some(Unit::Portable));
        assert_eq!(Unit::available().next_back(), Some(Unit::best()));
        for unit in Unit::ALL {
            assert_eq!(Unit::from_name(unit.name()), Some(unit));
            assert!(check_switch(unit.name()).is_ok());
        }
        assert!(check_switch("mmx").is_err_and(|why| why.contains("avx512_vnni")));
    }
}
