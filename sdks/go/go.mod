module sglpolicy

go 1.24
