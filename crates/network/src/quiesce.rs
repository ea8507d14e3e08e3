//! Waits until the kernel has done with every packet that it had begun with.
//!
//! New rules are in force at once, but a packet that was looked up under the old ones may still be between that and the place where its
//! connection is entered into connection tracking: nobody sees it meanwhile. That is microseconds, unless the CPU is taken away just
//! then, by the scheduler or by the hypervisor of the machine, which may be a tenth of a second. Such a SYN would reach a pod that was
//! told to stop because everything about it was quiet, and be repeated to nobody.
//!
//! The kernel handles a packet from its arrival (`netif_receive_skb`), or from its socket (`__ip_queue_xmit`), to the link it leaves by
//! within one RCU read section. So after a grace period each is where it can be seen: in connection tracking and behind the link.
use std::time::Duration;

/// For kernels that do not offer to wait (`nohz_full`): a packet that takes longer is not known to have been seen.
const OTHERWISE: Duration = Duration::from_millis(100);

/// Returns when every packet that any CPU was busy with at the call has left it, or was dropped. Takes some ten milliseconds.
pub(crate) fn quiesce_now() {
    // SAFETY: takes no pointer. `MEMBARRIER_CMD_GLOBAL` is a call of `synchronize_rcu` (kernel/sched/membarrier.c).
    #[allow(unsafe_code, reason = "nix and rustix do not have it")]
    let done = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if done != 0 {
        std::thread::sleep(OTHERWISE);
    }
}

/// The same, for those who must not block.
pub async fn quiesce() {
    if tokio::task::spawn_blocking(quiesce_now).await.is_err() {
        tokio::time::sleep(OTHERWISE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_offers_it() {
        // SAFETY: takes no pointer.
        #[allow(unsafe_code, reason = "as above")]
        let offered = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_QUERY, 0, 0) };
        assert_ne!(offered & i64::from(libc::MEMBARRIER_CMD_GLOBAL), 0);
        quiesce_now();
    }
}
