// SPDX-License-Identifier: GPL-2.0

//! The machine's CPUs.

use core::ffi::c_int;
use std::fs;

/// As many words as a mask of 1024 CPUs has.
const WORDS: usize = 16;

extern "C" {
    fn sched_getaffinity(pid: c_int, size: usize, mask: *mut u64) -> c_int;
    fn sched_setaffinity(pid: c_int, size: usize, mask: *const u64) -> c_int;
}

/// All CPUs that this program may run on, at least two; one of each core before the others.
pub fn all() -> Result<Vec<usize>, String> {
    let mut cores = Vec::new();
    let (mut firsts, others): (Vec<_>, Vec<_>) = allowed()?.into_iter().partition(|cpu| {
        let core = core(*cpu);
        let is_first = !cores.contains(&core);

        cores.push(core);
        is_first
    });

    firsts.extend(others);
    match firsts[..] {
        [] => Err("there is no CPU".into()),
        [_] => Err("there is one CPU only, so nothing can be chosen on two at once".into()),
        [first, second, ..] => {
            if core(first) == core(second) {
                println!("CPUs {first} and {second} are of one core, which they share in any case");
            }
            Ok(firsts)
        }
    }
}

fn allowed() -> Result<Vec<usize>, String> {
    let mut mask = [0; WORDS];

    // SAFETY: The mask is as large as the call says.
    if unsafe { sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr()) } < 0 {
        return Err(failed("sched_getaffinity"));
    }
    Ok((0..mask.len() * 64)
        .filter(|cpu| mask[cpu / 64] & 1 << (cpu % 64) != 0)
        .collect())
}

/// The CPUs of a CPU's core; itself when the kernel does not say.
fn core(cpu: usize) -> String {
    let file = format!("/sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list");

    fs::read_to_string(file).unwrap_or(cpu.to_string())
}

/// Has the calling thread run on one CPU only.
pub fn pin(cpu: usize) -> Result<(), String> {
    let mut mask = [0; WORDS];

    mask[cpu / 64] = 1 << (cpu % 64);
    // SAFETY: As above.
    if unsafe { sched_setaffinity(0, size_of_val(&mask), mask.as_ptr()) } < 0 {
        return Err(failed("sched_setaffinity"));
    }
    Ok(())
}

/// How often the calling thread has lost its CPU to another task; nothing when the kernel does not
/// say.
pub fn preemptions() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"))?;

    count.trim().parse().ok()
}

fn failed(what: &str) -> String {
    format!("{what}: {}", std::io::Error::last_os_error())
}
