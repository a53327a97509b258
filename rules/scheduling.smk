# Makes Snakemake look for jobs when a job ends, and not each second as well.
#
# Under its default limit of 100 starts a second, Snakemake (seen in 9.27.1) looks for jobs once more
# each second for every job that has ended, as long as jobs wait: over a run of 270 jobs it took 40 % of
# a core. Nothing here starts as often, so the default limit is removed. A limit that the user or a
# profile gives with --max-jobs-per-timespan stays, and Snakemake then looks once per timespan. The
# limit is private to Snakemake's scheduler, and no public setting turns it off.
# tests/unit/test_scheduling.py fails once Snakemake no longer needs this file.
import time


def look_for_jobs_only_when_one_ends(workflow):
    """Call it at the start of a run, when the scheduler exists."""
    limit = getattr(workflow.scheduling_settings, "max_jobs_per_timespan", None)
    if limit is None:
        return
    if (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
    else:
        look_once_per_timespan(workflow.scheduler)


def look_once_per_timespan(scheduler):
    """Skip a further look where one is still to come, else each job that ends adds one for good."""
    schedule, next_look = scheduler._schedule_reevalutation, 0.0

    def schedule_one(seconds):
        nonlocal next_look
        now = time.monotonic()
        if now >= next_look:
            # A little less, so that a clock that is ahead never leaves jobs without a further look.
            next_look = now + 0.9 * seconds
            schedule(seconds)

    scheduler._schedule_reevalutation = schedule_one
