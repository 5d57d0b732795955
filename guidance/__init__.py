"""From a case to electrodes that stand in the patient, verified."""
