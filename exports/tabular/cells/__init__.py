"""Turn columns of values into the cells of a file, a whole column at a time.

`to_csv_cells`, `to_excel_cells` and `to_json_cells` (modules `csv`, `excel`, `json`) are the entry points. `conversion`
picks the function for each type of value. Columns that a database delivered as text (`raw_batches`, `sql_csv`) stay
text where the file format allows it (`raw_columns`).
"""
