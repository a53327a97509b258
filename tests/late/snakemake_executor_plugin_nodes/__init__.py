"""`snakemake --executor nodes`: each job runs on a node of its own (tests/late), as on a cluster
whose scheduler starts it at once. Snakemake finds this package by its name."""

import os
import subprocess

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
)


class Executor(RemoteExecutor):
    def run_job(self, job):
        node = f"{job.name}-{job.jobid}-of-{os.getpid()}"
        environment = os.environ | {"LATE_NODE": node}
        if "LATE_LOGIN" in os.environ:  # only what jobs write is late, for the login node
            environment["LATE_NOTHING"] = "1"
        process = subprocess.Popen(self.format_job_exec(job), shell=True, env=environment)
        info = SubmittedJobInfo(job, external_jobid=node, aux={"process": process})
        self.report_job_submission(info)

    async def check_active_jobs(self, active_jobs):
        self.next_seconds_between_status_checks = 0.2
        for info in active_jobs:
            status = info.aux["process"].poll()
            if status is None:
                yield info
            elif status:
                self.report_job_error(info)
            else:
                self.report_job_success(info)

    def cancel_jobs(self, active_jobs):
        for info in active_jobs:
            info.aux["process"].terminate()
