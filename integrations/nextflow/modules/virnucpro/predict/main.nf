process VIRNUCPRO_PREDICT {
    tag "${meta.id}"
    label 'process_high'

    conda "${moduleDir}/environment.yml"
    // Not published; build it with: docker build --file integrations/docker/Dockerfile --tag virnucpro:0.1.0 .
    container "virnucpro:0.1.0"

    input:
    tuple val(meta), path(sequences)
    path bundle

    output:
    tuple val(meta), path("${prefix}/records.tsv{,.gz}"), emit: records
    tuple val(meta), path("${prefix}/chunks.tsv{,.gz}"), emit: chunks
    tuple val(meta), path("${prefix}/frames.tsv{,.gz}"), emit: frames
    tuple val(meta), path("${prefix}/viral.fasta{,.gz}"), emit: viral
    tuple val(meta), path("${prefix}/scores.bedgraph{,.gz}"), emit: track
    tuple val(meta), path("${prefix}/regions.*"), emit: regions
    tuple val(meta), path("${prefix}/report.html"), emit: report
    tuple val(meta), path("${prefix}/methods.txt"), emit: methods
    tuple val(meta), path("${prefix}/summary.json"), emit: summary
    tuple val(meta), path("${prefix}/run.json"), emit: run
    tuple val(meta), path("${prefix}/*_mqc.json"), emit: multiqc
    tuple val("${task.process}"), val('virnucpro'), eval("virnucpro --version | sed 's/virnucpro //'"), topic: versions, emit: versions_virnucpro

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    def device = task.accelerator ? 'cuda' : 'cpu'
    def with_bundle = bundle ? "--bundle ${bundle}" : ''
    // Status 3: done, but some records could not be processed; summary.json names them.
    """
    export OMP_NUM_THREADS=${task.cpus}
    virnucpro predict ${sequences} \\
        --out ${prefix} \\
        --device ${device} \\
        --quiet \\
        ${with_bundle} \\
        ${args} || [ \$? -eq 3 ]
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir ${prefix}
    touch ${prefix}/records.tsv ${prefix}/chunks.tsv ${prefix}/frames.tsv ${prefix}/viral.fasta
    touch ${prefix}/scores.bedgraph ${prefix}/regions.gff3 ${prefix}/regions.bed
    touch ${prefix}/report.html ${prefix}/methods.txt
    touch ${prefix}/summary.json ${prefix}/run.json
    touch ${prefix}/virnucpro_calls_mqc.json ${prefix}/virnucpro_stats_mqc.json
    """
}
