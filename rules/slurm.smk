# What --profile slurm does beyond Snakemake's Slurm plugin, so that no run waits for ever.
#
# The plugin (seen in 2.8.0) waits for ever for a job that was cancelled or preempted without being requeued,
# for one that Slurm has forgotten, and for all of them where Slurm keeps no accounts; it forgets its jobs
# itself when Slurm does not answer for a while. It fails a job that Slurm would accept a minute later. It
# submits a job again while that of a killed Snakemake still runs. What is done instead is in
# `trm.runtime.slurm_jobs`; here are the places where the plugin calls it. Dry runs and runs without the
# profile never come here. tests/unit/test_slurm_profile.py fails if the plugin has other such places.
import asyncio
import threading
from pathlib import Path

from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from trm.errors import TrmError
from trm.runtime.slurm_jobs import Watch, accepted_later, jobs_still_in, start_after


def follow_slurm_jobs(plugin):
    class Following(plugin.executor):
        """The plugin's executor, which first asks whether Slurm answers."""

        def __init__(self, workflow, logger):
            try:
                self.earlier = jobs_still_in(Path.cwd())
            except TrmError as error:
                raise WorkflowError(str(error))
            for job in self.earlier:
                logger.info(job.note())
            self.refused = set()
            super().__init__(workflow, logger)
            self.watch = Watch(self.run_uuid)

        def get_partition_arg(self, job):
            """With an option more: to start after the job of an earlier Snakemake has ended."""
            after = start_after(self.earlier, job.name, job.wildcards or [])
            return super().get_partition_arg(job) + after

        def _report_job_error_threadsafe(self, job_info, msg):
            """Submit again, some seconds later, what Slurm would then accept."""
            if not accepted_later(msg):
                super()._report_job_error_threadsafe(job_info, msg)
                return
            job = job_info.job
            if job not in self.refused:
                self.refused.add(job)
                refusal = msg.partition("    sbatch call:")[0].strip()
                self.logger.info(
                    f"note: {refusal} Job {job.jobid} is submitted again until Slurm accepts it."
                )

            def submit():
                if self.wait:  # not after Ctrl-C
                    self._job_submission_executor.submit(self.run_job, job)

            timer = threading.Timer(self.seconds_to_first_look, submit)
            timer.daemon = True
            timer.start()

        @property
        def seconds_to_first_look(self):
            return self.workflow.executor_settings.init_seconds_before_status_checks

        async def check_active_jobs(self, active_jobs):
            first = self.seconds_to_first_look
            longer = self.next_seconds_between_status_checks + first / 4
            self.next_seconds_between_status_checks = first
            # The thread that calls this starts before __init__ has ended.
            if not active_jobs:
                return
            if self._submitted_job_clusters:  # squeue lists this cluster's jobs only
                async for job_info in super().check_active_jobs(active_jobs):
                    yield job_info
                return
            async with self.status_rate_limiter:
                ids = [job_info.external_jobid for job_info in active_jobs]
                ended = await asyncio.to_thread(self.watch.ended, ids)
            if not ended:
                self.next_seconds_between_status_checks = min(4 * first, longer)
            for job_info in active_jobs:
                if job_info.external_jobid in ended:
                    self.report_end(job_info, ended[job_info.external_jobid])
                else:
                    yield job_info

        def report_end(self, job_info, failure):
            log = job_info.aux["slurm_logfile"]
            if failure is not None:
                self.report_job_error(job_info, msg=failure, aux_logs=[str(log)])
                return
            self.report_job_success(job_info)
            if not self.workflow.executor_settings.keep_successful_logs:
                log.unlink(missing_ok=True)

    plugin.executor = Following


# Once in a process, however often it reads this file; never where the plugin is not installed.
slurm_plugin = ExecutorPluginRegistry().plugins.get("slurm")
if slurm_plugin and slurm_plugin.executor.__name__ != "Following":
    follow_slurm_jobs(slurm_plugin)
