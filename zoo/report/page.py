def write_report(run_folder):
    return run_folder
